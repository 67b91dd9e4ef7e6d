//! Three members of one group and one outsider, and the genuine messages of their epoch. Made once per process.

use std::sync::LazyLock;

use mlsrtc_core::{
    Client, CommitRequest, Committed, Credential, Engine, ExternalJoin, IdentityRules, KeyPackage,
    Lifetime, Limits, MlsRs, Padding, Proposal, Secret, SigningKey,
};

use crate::insider::membership_key;

pub type Group = <MlsRs as Engine>::Group;

/// What a member does with a message, and what must come of a genuine one.
pub enum Meaning {
    /// The authenticator of the epoch that it leads to, as its author sees it.
    Commit(Secret),
    Proposal(Proposal),
    Application,
}

pub struct Message {
    pub bytes: Vec<u8>,
    pub meaning: Meaning,
}

/// What member 0 says to the others.
pub const SAID: &[u8] = b"what was said";

/// One epoch, seen by its members, and what leads on from it.
pub struct Scene {
    pub clients: Vec<Client>,
    pub keys: Vec<SigningKey>,
    /// The views of members 0, 1 and 2. They keep two past epochs.
    pub groups: Vec<Group>,
    /// Member 1's view after it has sent and read a message.
    pub talked: Group,
    /// For the members. Those of member 0: three commits (a removal, an addition, an empty one), an application message,
    /// proposals to add and to remove, the same encrypted; then an external commit by `outsider`.
    pub messages: Vec<Message>,
    pub outsider: Client,
    pub outsider_key: SigningKey,
    /// Somebody whom `welcome` greets, with `tree`.
    pub joiner: Client,
    pub joiner_key: SigningKey,
    pub key_package: KeyPackage,
    pub welcome: Vec<u8>,
    pub tree: Vec<u8>,
    /// Where `welcome` leads.
    pub joined: Group,
    pub group_info: Vec<u8>,
    /// The tree of the epoch itself.
    pub own_tree: Vec<u8>,
    pub membership_key: Vec<u8>,
}

pub static SCENE: LazyLock<Scene> = LazyLock::new(Scene::new);

fn client(name: &str) -> (Client, SigningKey) {
    let key = SigningKey::generate(1).expect("a key");
    let client = Client::new(
        Credential::Basic(name.into()),
        key.clone(),
        vec![(0xF4D1, name.into())],
        vec![],
        IdentityRules::default(),
    );
    let limits = Limits::new(Limits::MOST_AHEAD, 128, 2).expect("limits");
    (client.expect("a client").with_limits(limits), key)
}

fn key_package(client: &Client) -> KeyPackage {
    MlsRs::key_package(client, Lifetime::WIDEST, &vec![]).expect("a key package")
}

fn committed(group: &Group, proposals: &[Proposal], private: Option<Padding>) -> Committed<Group> {
    let request = CommitRequest {
        proposals,
        private,
        path: true,
        ..Default::default()
    };
    MlsRs::commit(group, &request).expect("a commit")
}

fn commit(made: &Committed<Group>) -> Message {
    let authenticator = MlsRs::epoch_authenticator(&made.group).expect("an epoch");
    Message {
        bytes: made.message.clone(),
        meaning: Meaning::Commit(authenticator),
    }
}

impl Scene {
    fn new() -> Self {
        let (clients, keys): (Vec<Client>, Vec<SigningKey>) = ["zero", "one", "two", "three"]
            .into_iter()
            .map(client)
            .unzip();
        let mut groups = members(&clients);
        let (joiner, joiner_key) = client("joiner");
        let (outsider, outsider_key) = client("outsider");
        let key_package = key_package(&joiner);
        let (add, remove) = (Proposal::Add(key_package.public()), Proposal::Remove(3));

        let addition = committed(&groups[0], std::slice::from_ref(&add), None);
        let empty = committed(&groups[0], &[], None);
        let group_info = MlsRs::group_info(&groups[0], false).expect("a GroupInfo");
        let own_tree = MlsRs::tree(&groups[0]).expect("a tree");
        let external = MlsRs::join_external(
            &outsider,
            &ExternalJoin {
                group_info: &group_info,
                tree: Some(&own_tree),
                remove: None,
                psks: &[],
                authenticated_data: b"",
                now: None,
            },
        )
        .expect("an external commit");
        let mut messages = vec![
            commit(&committed(&groups[0], std::slice::from_ref(&remove), None)),
            commit(&addition),
            commit(&empty),
        ];
        let said = MlsRs::encrypt(&groups[0], SAID, b"", Padding::default()).expect("a message");
        messages.push(Message {
            bytes: said.message.clone(),
            meaning: Meaning::Application,
        });
        // Each goes on from the one before: their keys are used.
        let mut author = said.group;
        for private in [None, Some(Padding::default())] {
            for proposal in [&add, &remove] {
                let made = MlsRs::propose(&author, proposal, b"", private, None);
                let made = made.expect("a proposal");
                author = made.group;
                messages.push(Message {
                    bytes: made.message,
                    meaning: Meaning::Proposal(proposal.clone()),
                });
            }
        }
        messages.push(commit(&external));

        let sent = MlsRs::encrypt(&groups[1], SAID, b"", Padding::default()).expect("a message");
        let talked = MlsRs::decrypt(&sent.group, &said.message)
            .expect("a message")
            .group;
        let tree = MlsRs::tree(&addition.group).expect("a tree");
        let welcome = addition.welcome.expect("a Welcome");
        let joined = MlsRs::join(&joiner, &welcome, &[&key_package], Some(&tree), &[], None);
        let state = MlsRs::save(&groups[1]).expect("saved");
        let context = &MlsRs::context(&groups[1]).encoded;
        let membership_key = membership_key(state.expose(), &empty.message, context);
        groups.truncate(3);
        Self {
            clients,
            keys,
            groups,
            talked,
            messages,
            outsider,
            outsider_key,
            joiner,
            joiner_key,
            key_package,
            welcome,
            tree,
            joined: joined.expect("a member"),
            group_info,
            own_tree,
            membership_key,
        }
    }

    /// Every genuine message, as what edits splice from.
    pub fn all(&self) -> Vec<&[u8]> {
        let messages = self.messages.iter().map(|one| one.bytes.as_slice());
        let others = [&self.welcome, &self.group_info, &self.tree, &self.own_tree];
        messages
            .chain(others.into_iter().map(Vec::as_slice))
            .collect()
    }
}

/// A group of all of these, in which everybody has set a path once, so that the tree has parents.
fn members(clients: &[Client]) -> Vec<Group> {
    let packages: Vec<KeyPackage> = clients[1..].iter().map(key_package).collect();
    let add: Vec<Proposal> = packages
        .iter()
        .map(|package| Proposal::Add(package.public()))
        .collect();
    let first = MlsRs::create(&clients[0], b"a group", &vec![]).expect("a group");
    let made = committed(&first, &add, None);
    let tree = MlsRs::tree(&made.group).expect("a tree");
    let welcome = made.welcome.expect("a Welcome");
    let mut groups = vec![made.group];
    for (client, package) in clients[1..].iter().zip(&packages) {
        let joined = MlsRs::join(client, &welcome, &[package], Some(&tree), &[], None);
        groups.push(joined.expect("a member"));
    }
    for author in 0..groups.len() {
        let made = committed(&groups[author], &[], None);
        for (at, group) in groups.iter_mut().enumerate() {
            *group = if at == author {
                made.group.clone()
            } else {
                applied(group, &made.message)
            };
        }
    }
    groups
}

/// The epoch that a genuine commit leads to.
pub fn applied(group: &Group, commit: &[u8]) -> Group {
    let staged = MlsRs::stage(group, commit, &[], None).expect("a genuine commit applies");
    MlsRs::apply(&staged).expect("a genuine commit leads on")
}
