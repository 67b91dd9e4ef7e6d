//! The ratchet_tree extension (RFC 9420 section 12.4.3.3): its leaves. Hashes of the tree are not checked here: the
//! engine does that when it joins or observes.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::leaf::LeafFacts;
use super::refused::{Reason, Refused, Within};

enum Node {
    Blank,
    Parent,
    Leaf(Box<LeafFacts>),
}

/// Reads the leaves of a ratchet tree, by their leaf index. Only the form is checked: leaves at even and parents at
/// odd places, and no blank at the end.
///
/// # Errors
/// [`Reason::BadTree`], and any reason that concerns form; see [`Reason`].
pub fn inspect_tree(tree: &[u8]) -> Result<BTreeMap<u32, LeafFacts>, Refused> {
    Cursor::read_all(tree, "ratchet_tree", |cursor| {
        let mut leaves = BTreeMap::new();
        let mut place = 0_u32;
        let mut ends_blank = true;
        cursor.skip_vector("nodes", |inside| {
            let node = read_node(inside)?;
            ends_blank = matches!(node, Node::Blank);
            match (node, place % 2) {
                (Node::Leaf(leaf), 0) => {
                    leaves.insert(place / 2, *leaf);
                }
                (Node::Parent, 1) | (Node::Blank, _) => {}
                _ => return Err(Refused::new(Reason::BadTree, "")),
            }
            place = place
                .checked_add(1)
                .ok_or_else(|| Refused::new(Reason::Oversized, ""))?;
            Ok(())
        })?;
        if ends_blank {
            return Err(Refused::new(Reason::BadTree, "nodes"));
        }
        Ok(leaves)
    })
}

fn read_node(cursor: &mut Cursor<'_>) -> Result<Node, Refused> {
    if !cursor.present("node")? {
        return Ok(Node::Blank);
    }
    match cursor.u8("node_type")? {
        1 => Ok(Node::Leaf(Box::new(
            LeafFacts::read(cursor).within("leaf_node")?,
        ))),
        2 => {
            cursor.opaque("encryption_key")?;
            cursor.opaque("parent_hash")?;
            cursor.skip_vector("unmerged_leaves", |inside| inside.u32("").map(|_| ()))?;
            Ok(Node::Parent)
        }
        _ => Err(Refused::new(Reason::UnknownValue, "node_type")),
    }
}
