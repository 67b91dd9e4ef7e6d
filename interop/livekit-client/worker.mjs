// livekit-client's end-to-end encryption worker in Node, its file as it is: frames in, frames out, line by line.
//
// What a browser's worker has and Node has not is given below, and no more: a global `self` and `onmessage`; a
// `postMessage`, whose reader here is this program; `RTCTransformEvent`, for its presence tells the worker that frames
// come by RTCRtpScriptTransform; and `RTCEncodedAudioFrame`, which a line of its log asks for. Streams and WebCrypto are
// Node's own, and for the worker they are the same as a browser's.
//
// {"op": "hello"} -> the version
// {"op": "key", "identity", "index", "key"} -> {}; the key is handed over as Element Call's provider does it
// {"op": "passphrase", "passphrase"} -> {}; the same where all share one: the program is started with `shared` then
// {"op": "open", "track", "identity", "direction": "encode" | "decode", "codec": "vp8" | null} -> {}
// {"op": "frames", "track", "frames": [["audio" | "key" | "delta", data], ...]}
//     -> {"frames": [data, or null for one that the worker dropped], "errors": [what it said meanwhile]}
// Binary values are base64. An error is answered by {"error"}.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { runInThisContext } from "node:vm";
import { BaseKeyProvider, ExternalE2EEKeyProvider, KeyProviderEvent } from "livekit-client";

const resolved = createRequire(import.meta.url).resolve("livekit-client/e2ee-worker");
const b64 = (bytes) => Buffer.from(bytes).toString("base64");
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64")); // a copy with a buffer of its own

// What Element Call makes (its MatrixKeyProvider); livekit-client fills in the rest.
const shared = process.argv[2] === "shared" ? new ExternalE2EEKeyProvider() : null; // as Element Call makes that one
const provider = shared ?? new BaseKeyProvider({ ratchetWindowSize: 10, keyringSize: 256 });
const keyProviderOptions = provider.getOptions();

const told = []; // errors that the worker has posted
const acknowledged = [];

globalThis.self = globalThis;
globalThis.onmessage = null;
globalThis.RTCTransformEvent = class {};
globalThis.RTCEncodedAudioFrame = class {};
globalThis.postMessage = ({ kind, data }) => {
  if (kind === "error") told.push(String(data.error));
  if (kind === "initAck" || kind === "enable") acknowledged.shift()?.();
};
runInThisContext(readFileSync(resolved, "utf8"), { filename: resolved });

const post = (kind, data) => globalThis.onmessage({ data: { kind, data } });
const answered = (kind, data) => new Promise((done) => (acknowledged.push(done), post(kind, data)));

/** One encoded frame, as far as the worker looks at it. `type` is a video frame's. */
function frame(kind, data, number, ssrc) {
  const made = { data: bytes(data).buffer, number, timestamp: number * 960, getMetadata: () => ({ synchronizationSource: ssrc }) };
  return kind === "audio" ? made : Object.assign(made, { type: kind });
}

const tracks = new Map();
let ssrc = 0;

const operations = {
  hello() {
    const lock = JSON.parse(readFileSync(new URL("package-lock.json", import.meta.url)));
    return { peer: "livekit-client", version: lock.packages["node_modules/livekit-client"].version };
  },

  async key({ identity, index, key }) {
    const material = await crypto.subtle.importKey("raw", bytes(key), "HKDF", false, ["deriveBits", "deriveKey"]);
    post("setKey", { participantIdentity: identity, isPublisher: false, key: material, keyIndex: index, updateCurrentKeyIndex: true });
    await answered("enable", { enabled: true, participantIdentity: identity }); // the worker takes one thing at a time
    return {};
  },

  async passphrase({ passphrase }) {
    const set = new Promise((done) => {
      shared.once(KeyProviderEvent.SetKey, ({ key, participantIdentity, keyIndex }, updateCurrentKeyIndex) => {
        post("setKey", { participantIdentity, isPublisher: false, key, keyIndex, updateCurrentKeyIndex });
        done();
      });
    });
    await shared.setKey(passphrase);
    await set;
    await answered("enable", { enabled: true, participantIdentity: "nobody" });
    return {};
  },

  async open({ track, identity, direction, codec }) {
    await answered("enable", { enabled: true, participantIdentity: identity });
    const opened = { ssrc: ++ssrc, number: 0, out: [] };
    const readable = new ReadableStream({ start: (controller) => (opened.in = controller) });
    const writable = new WritableStream({
      write(frame) {
        if (frame.data.byteLength === 0) opened.end();
        else opened.out.push(frame);
      },
    });
    const options = { kind: direction, participantIdentity: identity, trackId: track, codec: codec ?? undefined, hasPacketTrailer: false };
    globalThis.onrtctransform({ transformer: { readable, writable, options } });
    tracks.set(track, opened);
    return {};
  },

  async frames({ track, frames }) {
    const opened = tracks.get(track);
    const first = opened.number;
    opened.out = [];
    told.length = 0;
    // An empty frame passes in both directions as it is (it is Opus' silence), behind all others.
    const over = new Promise((end) => (opened.end = end));
    for (const [kind, data] of [...frames, ["audio", ""]]) opened.in.enqueue(frame(kind, data, opened.number++, opened.ssrc));
    await over;
    const out = frames.map(() => null);
    for (const frame of opened.out) out[frame.number - first] = b64(frame.data);
    return { frames: out, errors: [...told] };
  },
};

await answered("init", { keyProviderOptions, loglevel: 5 }); // silent

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    const { op, ...fields } = JSON.parse(line);
    said = await operations[op](fields);
  } catch (error) {
    said = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
}
