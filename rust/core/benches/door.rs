//! What the provider's primitives and the core's own calls take, for `tests/benchmarks/door_speed.py`.
//!
//!     cargo bench --package mlsrtc-core --bench door -- FOLDER [CALL]
//!
//! The folder holds a member and what it is to do: `key`, `group`, `commit`, `welcome`, `tree`, `package`, as Python saved
//! them, and `leaf`, the number of one to remove. Prints nanoseconds by name, as JSON; each is the least of many rounds. With the
//! name of a call it does nothing else, for ten seconds: so that a profiler sees that call alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use mls_rs_core::crypto::{CipherSuite, CipherSuiteProvider, CryptoProvider};
use mls_rs_crypto_awslc::AwsLcCryptoProvider;
use mlsrtc_core::{
    Client, CommitRequest, Credential, Engine, IdentityRules, KeyPackage, MlsRs, Proposal, Secret,
    SigningKey,
};

// The extension module has the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 31;
/// A round repeats what is short until it has taken so long.
const ROUND: Duration = Duration::from_micros(500);
const AT_MOST: Duration = Duration::from_secs(3);
const PROFILED: Duration = Duration::from_secs(10);

fn least<T>(mut act: impl FnMut() -> T) -> u64 {
    let began = Instant::now();
    black_box(act());
    let once = began.elapsed().max(Duration::from_nanos(20));
    let times = (ROUND.as_nanos() / once.as_nanos()).clamp(1, 1000) as u32;
    let (first, mut rounds) = (Instant::now(), Vec::new());
    while rounds.len() < ROUNDS && (rounds.len() < 3 || first.elapsed() < AT_MOST) {
        let began = Instant::now();
        for _ in 0..times {
            black_box(act());
        }
        rounds.push((began.elapsed() / times).as_nanos() as u64);
    }
    rounds.into_iter().min().unwrap()
}

/// Suite 1's functions, on inputs of the sizes that they have in a commit.
fn primitives() -> Vec<(&'static str, u64)> {
    let suite = AwsLcCryptoProvider::new()
        .cipher_suite_provider(CipherSuite::CURVE25519_AES128)
        .unwrap();
    let (secret, public) = suite.signature_key_generate().unwrap();
    let (hpke_secret, hpke_public) = suite.kem_generate().unwrap();
    let (message, value, info) = (vec![7; 300], vec![7; 32], vec![7; 150]);
    let signature = suite.sign(&secret, &message).unwrap();
    let sealed = suite.hpke_seal(&hpke_public, &info, None, &value).unwrap();
    let (key, nonce, large) = (vec![7; 16], vec![7; 12], vec![7; 100_000]);
    vec![
        ("sign", least(|| suite.sign(&secret, &message).unwrap())),
        (
            "verify",
            least(|| suite.verify(&public, &signature, &message).unwrap()),
        ),
        ("key pair", least(|| suite.kem_derive(&value).unwrap())),
        (
            "seal",
            least(|| suite.hpke_seal(&hpke_public, &info, None, &value).unwrap()),
        ),
        (
            "open",
            least(|| {
                suite
                    .hpke_open(&sealed, &hpke_secret, &hpke_public, &info, None)
                    .unwrap()
            }),
        ),
        (
            "expand",
            least(|| suite.kdf_expand(&value, &info[..60], 32).unwrap()),
        ),
        (
            "extract",
            least(|| suite.kdf_extract(&value, &value).unwrap()),
        ),
        ("mac", least(|| suite.mac(&value, &message).unwrap())),
        (
            "encrypt",
            least(|| suite.aead_seal(&key, &message, None, &nonce).unwrap()),
        ),
        ("hash", least(|| suite.hash(&info).unwrap())),
        ("hash of 100 kB", least(|| suite.hash(&large).unwrap())),
    ]
}

/// What the binding calls, on the state that Python saved.
struct Scene {
    client: Client,
    group: <MlsRs as Engine>::Group,
    package: KeyPackage,
    commit: Vec<u8>,
    welcome: Vec<u8>,
    tree: Vec<u8>,
    added: Vec<u8>,
    leaf: u32,
    infos: Vec<Vec<u8>>,
}

const CALLS: [&str; 8] = [
    "export",
    "export all",
    "save",
    "tree",
    "process a removal",
    "remove",
    "add",
    "join",
];

impl Scene {
    fn of(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let secret = |name: &str| Secret::from(read(name));
        let key = SigningKey::load(1, &secret("key")).unwrap();
        let identity = Credential::Basic(read("identity"));
        let client = Client::new(identity, key, vec![], vec![], IdentityRules::default()).unwrap();
        let group = MlsRs::load(&client, &secret("group")).unwrap();
        Self {
            package: KeyPackage::load(&secret("package")).unwrap(),
            commit: read("commit"),
            welcome: read("welcome"),
            tree: read("tree"),
            added: read("added"),
            leaf: u32::from_be_bytes(read("leaf").try_into().unwrap()),
            infos: vec![vec![7; 110]; MlsRs::roster(&group).len()],
            client,
            group,
        }
    }

    fn committed(&self, proposal: Proposal) {
        let proposals = &[proposal];
        let request = CommitRequest {
            proposals,
            ..Default::default()
        };
        black_box(MlsRs::commit(&self.group, &request).unwrap());
    }

    fn call(&self, name: &str) {
        let group = &self.group;
        match name {
            "export" => drop(MlsRs::export(group, b"benchmark", b"door", 32).unwrap()),
            "export all" => {
                let infos: Vec<&[u8]> = self.infos.iter().map(Vec::as_slice).collect();
                drop(MlsRs::sender_keys(group, b"benchmark", b"door", &infos).unwrap());
            }
            "save" => drop(MlsRs::save(group).unwrap()),
            "tree" => drop(MlsRs::tree(group).unwrap()),
            "process a removal" => {
                let staged = MlsRs::stage(group, &self.commit, &[], None).unwrap();
                drop(MlsRs::apply(&staged).unwrap());
            }
            "remove" => self.committed(Proposal::Remove(self.leaf)),
            "add" => self.committed(Proposal::Add(self.added.clone())),
            "join" => {
                let (packages, tree) = ([&self.package], Some(self.tree.as_slice()));
                drop(MlsRs::join(&self.client, &self.welcome, &packages, tree, &[], None).unwrap());
            }
            _ => panic!("no call {name}"),
        }
    }
}

fn main() {
    // Cargo adds `--bench` to what it was given.
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|one| one != "--bench")
        .collect();
    let scene = given.first().map(|folder| Scene::of(Path::new(folder)));
    if let (Some(scene), Some(name)) = (&scene, given.get(1)) {
        let began = Instant::now();
        while began.elapsed() < PROFILED {
            scene.call(name);
        }
        return;
    }
    let mut found = primitives();
    if let Some(scene) = &scene {
        found.extend(CALLS.map(|name| (name, least(|| scene.call(name)))));
    }
    let lines: Vec<String> = found
        .iter()
        .map(|(name, ns)| format!("  \"{name}\": {ns}"))
        .collect();
    println!("{{\n{}\n}}", lines.join(",\n"));
}
