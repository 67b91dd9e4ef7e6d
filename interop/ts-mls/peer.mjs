// ts-mls behind the line protocol of tests/interop/peers.py. State in, state out: a client keeps the newest.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import {
  bytesToBase64, ciphersuites, createApplicationMessage, createCommit, createGroup,
  createGroupInfoWithExternalPub, createGroupInfoWithExternalPubAndRatchetTree, createProposal, decodeMlsMessage,
  defaultCapabilities, encodeGroupState, encodeMlsMessage, generateKeyPackageWithKey, getCiphersuiteFromName, getCiphersuiteImpl,
  joinGroup, joinGroupExternal, makePskIndex, mlsExporter, processPrivateMessage,
  processPublicMessage,
} from "ts-mls";
import { decodeRatchetTree, encodeRatchetTree } from "ts-mls/ratchetTree.js";
import { encodeRequiredCapabilities } from "ts-mls/requiredCapabilities.js";

const SUITES = [1, 2, 3];
const DAY = 24 * 3600;
/** The extension and the proposal that the application makes up, where the histories play such ones. */
const [EXTENSION, CUSTOM] = [0xf0f0, 0xf0f1];
const BARE_KEY =
  "reads and writes the extension external_pub as the bare key; RFC 9420 section 12.4.3.2 has a length before it";
const UNSUPPORTED = {
  external_join: BARE_KEY,
  resync: BARE_KEY,
  group_info: BARE_KEY,
  propose_update: "createProposal makes no leaf node and keeps no key for one",
  external_join_psk: "joinGroupExternal takes no PSK",
  commit_context_extensions: "createCommit gives no path, which RFC 9420 section 17.4 requires",
};

const b64 = (bytes) => Buffer.from(bytes).toString("base64");
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const encoded = (wireformat, name, value) => encodeMlsMessage({ version: "mls10", wireformat, [name]: value });
const wrapped = (wireformat, name, value) => b64(encoded(wireformat, name, value));

function opened(data, wireformat, name) {
  const decoded = decodeMlsMessage(data, 0);
  if (decoded === undefined || decoded[0].wireformat !== wireformat) throw new Error(`no ${wireformat}`);
  return decoded[0][name];
}

function message(data) {
  const decoded = decodeMlsMessage(data, 0);
  if (decoded === undefined) throw new Error("not decoded");
  return decoded[0];
}

/** What the work gives, and how many nanoseconds it took: base64 is not the engine's work. */
async function timed(work) {
  const began = process.hrtime.bigint();
  const done = await work();
  return [done, Number(process.hrtime.bigint() - began)];
}

async function repeated(times, work) {
  const [, ns] = await timed(async () => {
    for (let time = 0; time < times; time++) await work();
  });
  return { ns };
}

const tree = (data) => (data ? decodeRatchetTree(data, 0)[0] : undefined);

class Client {
  static async make({ suite, identity, private: isPrivate, custom }) {
    const client = new Client();
    const name = Object.keys(ciphersuites).find((name) => ciphersuites[name] === suite);
    client.cs = await getCiphersuiteImpl(getCiphersuiteFromName(name));
    client.keys = await client.cs.signature.keygen();
    client.credential = { credentialType: "basic", identity: bytes(identity) };
    client.isPublic = !isPrivate;
    client.custom = custom ?? false;
    client.packages = [];
    client.psks = {};
    return client;
  }

  get pskIndex() {
    return makePskIndex(this.state, this.psks);
  }

  async package() {
    const now = Math.floor(Date.now() / 1000);
    const lifetime = { notBefore: BigInt(now - 3600), notAfter: BigInt(now + 80 * DAY) };
    const keys = { signKey: this.keys.signKey, publicKey: this.keys.publicKey };
    const capabilities = defaultCapabilities();
    if (this.custom) {
      capabilities.extensions = [...capabilities.extensions, EXTENSION];
      capabilities.proposals = [...capabilities.proposals, CUSTOM];
    }
    return generateKeyPackageWithKey(this.credential, capabilities, lifetime, [], keys, this.cs);
  }

  async key_package() {
    const made = await this.package();
    this.packages.push(made);
    return { key_package: wrapped("mls_key_package", "keyPackage", made.publicPackage) };
  }

  async create({ group_id }) {
    const { publicPackage, privatePackage } = await this.package();
    const id = bytes(group_id);
    const [state, ns] = await timed(() => createGroup(id, publicPackage, privatePackage, [], this.cs));
    this.state = state;
    return { ns };
  }

  async join({ welcome, tree: apart }) {
    const { publicPackage, privatePackage } = this.packages.at(-1);
    const [message, beside] = [bytes(welcome), apart && bytes(apart)];
    const psks = makePskIndex(undefined, this.psks);
    const [state, ns] = await timed(() => {
      const opening = opened(message, "mls_welcome", "welcome");
      return joinGroup(opening, publicPackage, privatePackage, psks, this.cs, tree(beside));
    });
    this.state = state;
    return { ns };
  }

  async join_external({ group_info, tree: apart, resync }) {
    const { publicPackage, privatePackage } = await this.package();
    const info = opened(bytes(group_info), "mls_group_info", "groupInfo");
    const beside = tree(apart && bytes(apart));
    const joined = await joinGroupExternal(info, publicPackage, privatePackage, resync, this.cs, beside);
    this.state = joined.newState;
    return { commit: wrapped("mls_public_message", "publicMessage", joined.publicMessage) };
  }

  psk({ id, secret }) {
    this.psks[bytesToBase64(bytes(id))] = bytes(secret);
    return {};
  }

  proposal({ kind, key_package, leaf, id, epoch, data }) {
    switch (kind) {
      case "add":
        return { proposalType: "add", add: { keyPackage: opened(bytes(key_package), "mls_key_package", "keyPackage") } };
      case "remove":
        return { proposalType: "remove", remove: { removed: leaf } };
      case "psk": {
        const pskNonce = this.cs.rng.randomBytes(this.cs.kdf.size);
        const pskGroupId = this.state.groupContext.groupId;
        const preSharedKeyId =
          epoch === undefined
            ? { psktype: "external", pskId: bytes(id), pskNonce }
            : { psktype: "resumption", usage: "application", pskGroupId, pskEpoch: BigInt(epoch), pskNonce };
        return { proposalType: "psk", psk: { preSharedKeyId } };
      }
      case "context_extensions": {
        const required = { extensionTypes: [EXTENSION], proposalTypes: [], credentialTypes: [] };
        const extensions = [
          { extensionType: EXTENSION, extensionData: bytes(data) },
          { extensionType: "required_capabilities", extensionData: encodeRequiredCapabilities(required) },
        ];
        return { proposalType: "group_context_extensions", groupContextExtensions: { extensions } };
      }
      case "custom":
        return { proposalType: CUSTOM, proposalData: bytes(data) };
      default:
        throw new Error(`unknown proposal ${kind}`);
    }
  }

  async propose(fields) {
    const made = await createProposal(this.state, this.isPublic, this.proposal(fields), this.cs);
    this.state = made.newState;
    return { proposal: b64(encodeMlsMessage(made.message)) };
  }

  async commit({ add, remove, psk, by_value = [], tree_in_welcome }) {
    const [[commit, welcome, beside], ns] = await timed(async () => {
      const extraProposals = [
        ...add.map((key_package) => this.proposal({ kind: "add", key_package })),
        ...remove.map((leaf) => this.proposal({ kind: "remove", leaf })),
        ...psk.map((fields) => this.proposal({ kind: "psk", ...fields })),
        ...by_value.map((fields) => this.proposal(fields)),
      ];
      const context = { state: this.state, cipherSuite: this.cs, pskIndex: this.pskIndex };
      const options = { extraProposals, wireAsPublicMessage: this.isPublic, ratchetTreeExtension: tree_in_welcome };
      const made = await createCommit(context, options);
      this.state = made.newState;
      return [
        encodeMlsMessage(made.commit),
        made.welcome && encoded("mls_welcome", "welcome", made.welcome),
        tree_in_welcome ? undefined : encodeRatchetTree(this.state.ratchetTree),
      ];
    });
    return { commit: b64(commit), welcome: welcome ? b64(welcome) : null, tree: beside ? b64(beside) : null, ns };
  }

  async process({ message: text }) {
    const sent = bytes(text);
    const [[done, kind], ns] = await timed(async () => {
      const incoming = message(sent);
      const kind = incoming.publicMessage?.content.contentType ?? incoming.privateMessage?.contentType;
      // Not processMessage, which gives private messages an empty index of PSKs.
      const done = incoming.privateMessage
        ? await processPrivateMessage(this.state, incoming.privateMessage, this.pskIndex, this.cs)
        : await processPublicMessage(this.state, incoming.publicMessage, this.pskIndex, this.cs);
      return [done, kind];
    });
    this.state = done.newState;
    return done.kind === "applicationMessage" ? { kind: "application", data: b64(done.message), ns } : { kind, ns };
  }

  async encrypt({ data, authenticated_data }) {
    const made = await createApplicationMessage(this.state, bytes(data), this.cs, bytes(authenticated_data));
    this.state = made.newState;
    return { message: wrapped("mls_private_message", "privateMessage", made.privateMessage) };
  }

  async group_info({ with_tree }) {
    const make = with_tree ? createGroupInfoWithExternalPubAndRatchetTree : createGroupInfoWithExternalPub;
    const info = await make(this.state, [], this.cs);
    return {
      group_info: wrapped("mls_group_info", "groupInfo", info),
      tree: with_tree ? null : b64(encodeRatchetTree(this.state.ratchetTree)),
    };
  }

  async export({ label, context, times }) {
    const about = bytes(context);
    return repeated(times, () => mlsExporter(this.state.keySchedule.exporterSecret, label, about, 32, this.cs));
  }

  async save({ times }) {
    return repeated(times, () => encodeGroupState(this.state));
  }

  async current({ label, context }) {
    const { groupContext, keySchedule, privatePath } = this.state;
    return {
      epoch: Number(groupContext.epoch),
      leaf: privatePath.leafIndex,
      authenticator: b64(keySchedule.epochAuthenticator),
      exporter: b64(await mlsExporter(keySchedule.exporterSecret, label, bytes(context), 32, this.cs)),
      tree_hash: b64(groupContext.treeHash),
    };
  }
}

const clients = new Map();

async function answer({ op, client: name, ...fields }) {
  if (op === "hello") {
    const lock = JSON.parse(readFileSync(new URL("package-lock.json", import.meta.url)));
    const { version } = lock.packages["node_modules/ts-mls"];
    return { peer: "ts-mls", version, suites: SUITES, unsupported: UNSUPPORTED };
  }
  if (op === "client") return clients.set(name, await Client.make(fields)), {};
  if (op === "drop") return clients.delete(name), {};
  const operation = op === "state" ? "current" : op;
  return clients.get(name)[operation](fields);
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = await answer(JSON.parse(line));
  } catch (error) {
    said = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
}
