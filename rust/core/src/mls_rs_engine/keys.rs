//! The encryption keys that others put into the tree: whether they can be encrypted to, and whether they are new. The engine
//! does not ask. One key that cannot would let nobody whose path is encrypted to it commit a path any more: not to rekey,
//! and not to remove anybody.

use std::collections::BTreeSet;

use mls_rs::group::proposal::Proposal;
use mls_rs::group::ExportedTree;
use mls_rs_codec::{byte_vec, MlsEncode};

use super::proposals;
use crate::engine::{Changes, Member};
use crate::provider::can_be_sealed_to;
use crate::reader::{inspect_key_package, Reason};
use crate::{Error, Result};

fn bad_key(place: &'static str, section: &'static str) -> Error {
    Error::remote("bad_key", "nothing can be encrypted to one of its keys")
        .at(place)
        .section(section)
}

fn repeated_key(place: &'static str, section: &'static str) -> Error {
    Error::remote("repeated_key", "a key of the tree is used again")
        .at(place)
        .section(section)
}

/// The leaves that a commit has added or replaced, and the nodes above its author if it has a path.
pub(super) fn of_commit(
    suite: u16,
    author: u32,
    changes: &Changes,
    before: &ExportedTree<'_>,
    after: &ExportedTree<'_>,
) -> Result<()> {
    let leaf = |one: &Member| one.leaf.checked_mul(2);
    let mut brought = changes.added.iter().chain(&changes.updated);
    let root = after.nodes().len().div_ceil(2).next_power_of_two() - 1;
    let root = u32::try_from(root).unwrap_or(u32::MAX);
    let above = brought
        .any(|one| one.leaf == author)
        .then(|| {
            std::iter::successors(author.checked_mul(2), |node| {
                (*node != root).then(|| parent(*node))
            })
        })
        .into_iter()
        .flatten()
        .skip(1);
    let replaced = keys(after, changes.updated.iter().filter_map(leaf).chain(above));
    let added = keys(after, changes.added.iter().filter_map(leaf));
    let brought = || replaced.iter().chain(&added);
    if !brought().all(|key| can_be_sealed_to(suite, key)) {
        return Err(bad_key("commit", "RFC 9420 sections 7.1, 7.2, 10"));
    }
    // An added leaf may have had its key before: a key package of last resort brings it back.
    let fresh: BTreeSet<&[u8]> = replaced.iter().copied().collect();
    let known = all(before).any(|key| fresh.contains(key));
    let once: BTreeSet<&[u8]> = brought().copied().collect();
    if known || all(after).filter(|key| once.contains(key)).count() != brought().count() {
        return Err(repeated_key("commit", "RFC 9420 sections 7.3, 12.4.2"));
    }
    Ok(())
}

/// The tree that somebody new is told: each key stands in one node.
pub(super) fn of_tree(tree: &ExportedTree<'_>) -> Result<()> {
    let distinct: BTreeSet<&[u8]> = all(tree).collect();
    if distinct.len() == all(tree).count() {
        Ok(())
    } else {
        Err(repeated_key("tree", "RFC 9420 section 12.4.3.1"))
    }
}

fn all<'a>(tree: &'a ExportedTree<'_>) -> impl Iterator<Item = &'a [u8]> {
    tree.nodes()
        .iter()
        .flatten()
        .map(|node| &**node.public_key())
}

/// Those of these nodes that are not blank.
fn keys<'a>(tree: &'a ExportedTree<'_>, nodes: impl Iterator<Item = u32>) -> Vec<&'a [u8]> {
    nodes
        .filter_map(|place| tree.nodes().get(usize::try_from(place).ok()?)?.as_ref())
        .map(|node| &**node.public_key())
        .collect()
}

/// The node above (RFC 9420 appendix C).
fn parent(node: u32) -> u32 {
    let low = 1_u32 << node.trailing_ones();
    (node | low) & !(low << 1)
}

/// What a proposal brings.
pub(super) fn of_proposal(suite: u16, proposal: &Proposal) -> Result<()> {
    let unreadable = |error: mls_rs_codec::Error| Error::local("engine_refused", error.to_string());
    match proposal {
        Proposal::Add(add) => of_key_package(&proposals::key_package(add)?),
        Proposal::Update(update) => {
            let leaf = update.mls_encode_to_vec().map_err(unreadable)?;
            // The first field of a LeafNode (section 7.2), which the engine keeps to itself.
            let key: Vec<u8> = byte_vec::mls_decode(&mut leaf.as_slice()).map_err(unreadable)?;
            if can_be_sealed_to(suite, &key) {
                Ok(())
            } else {
                Err(bad_key("proposal", "RFC 9420 section 7.2"))
            }
        }
        _ => Ok(()),
    }
}

/// Both keys of a KeyPackage, an MLSMessage.
pub(super) fn of_key_package(message: &[u8]) -> Result<()> {
    let checked = inspect_key_package(message).and_then(|facts| facts.check_keys());
    checked.map_err(|refused| match refused.reason {
        Reason::BadKey => bad_key("key_package", "RFC 9420 section 10"),
        Reason::UnknownVersion => Error::remote(refused.reason.slug(), refused.to_string())
            .at("key_package")
            .section("RFC 9420 sections 10, 10.1"),
        reason => Error::remote(reason.slug(), refused.to_string())
            .at("key_package")
            .section(reason.section()),
    })
}
