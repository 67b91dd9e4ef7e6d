// matrix-js-sdk as a participant of a call, with its Rust crypto: keys and memberships, no media. One request a line,
// one answer a line, in their order; what has an `event` was not asked for.
//
// {"op": "hello"} -> {"version"}
// {"op": "start", "homeserver", "user_id", "device_id", "access_token", "room_id"} -> {}; it is in the room, and its
//     device keys are on the homeserver
// {"op": "join", "membership": "state" | "sticky", "livekit_service_url", "options"} -> {"member_id"}
//     options: more of the SDK's JoinSessionConfig, such as callIntent, keyRotationGracePeriodMs, useKeyDelay (ms)
// {"op": "leave"} -> {}; {"op": "stop"} -> {}
// {"op": "keys"} -> {"keys": [KEY]}, those that it holds; {"op": "members"} -> {"members": [MEMBER]}
// {"event": "key", KEY}: told to the media; a key of its own when it begins to encrypt under it
// {"event": "received", "message", "device_id"}: a key event as it came, with all that was in the Olm message, and the
//     device that Olm authenticated; null where the event was not encrypted
// {"event": "memberships", "members": [MEMBER]}; {"event": "warning", "level", "text"}
//
// KEY is {"user_id", "device_id", "member_id", "identity", "index", "key"}; MEMBER is {"user_id", "device_id",
// "member_id", "identity", "event"}. `identity` is the one in LiveKit, `event` decrypted. Keys are padded base64; they
// are a test's, and this program prints them. An error is answered by {"error"}.
//
// What a second implementation needs to know of version 43.0.0, from the SDK's source and from runs. What is marked (T)
// is held by tests/real/test_js_sdk_peer.py.
//
// The key event is to-device, `io.element.call.encryption_keys` (T; tests/keyshare/samples):
//   {"keys": {"index": 0, "key": "<padded base64 of 16 bytes>"}, "member": {"id", "claimed_device_id"}, "room_id",
//    "session": {"call_id": "", "application": "m.call", "scope": "m.room"}, "sent_ts": <ms>}
// Beside it in the Olm message: sender, recipient, keys, recipient_keys, and sender_device_keys (MSC4147), but no
// sender_device. Taken is an Olm message with the first four, if they are true.
//
// Of a key event, this is looked at (T): that room_id is this room, that keys.key is not empty, that keys.index is a
// number, and that there is a member.claimed_device_id. All else is taken as it comes:
//   - member.id, session and sent_ts may be missing, or anything.
//   - The base64 may lack its padding or be URL-safe; the key may have any length. Text that is no base64 throws in the
//     SDK's sync (T), and what else that sync brought is lost: a membership is never seen.
//   - The index may be negative, or above 255. Of two keys with one index, the one that comes later counts.
//   - Nobody checks that the event was encrypted, nor that Olm authenticated the claimed device, nor whether that is
//     cross-signed or verified. The user is whom the homeserver names as sender.
//
// A key belongs to the oldest membership with its user and device, in both formats. It is told with its own member.id
// and the identity of that membership (T): `user:device` for a state one; for a sticky one, the unpadded base64 of the
// SHA-256 of the JSON [user, device, member.id]. While there is none, the key waits, without a limit in number or time,
// and is told when there is (T): also one from before a leave, and then under the identity of the next join.
//
// The first key of a join has index 0 (T) and is used at once; later ones count up, modulo 256, and are used
// `useKeyDelay` (1 s) after they were handed to the queue (T). At each change of the memberships:
//   - Somebody has gone: a new key, to all (T).
//   - Only joins, and the key is younger than `keyRotationGracePeriodMs` (10 s): the same, to those who came (T).
//   - Only joins, and it is older: a new key, to all (T). Who joins cannot decrypt before it is used.
//   - Another created_ts (state) or event time (sticky) than before is a join; so is its own.
//   - There are `keyRotationParticipantLimit` memberships or more (by default no limit): never a new key.
// What changes while a key is being sent, and during the second after, makes one more round. A client sends as soon as
// it sees any membership, before its own is there: keys may come first. It goes on after it has left: to itself, its
// own leave is one, so those who stay get a new key from it (T), and again whenever somebody else leaves.
//
// It sends to the devices that the memberships name (T), each by Olm, cross-signed or not, whatever the isolation mode,
// and claims one-time keys itself, for all devices of these users. It knows devices of users with whom it shares an
// encrypted room: in another room nothing flows. A request has up to 20 messages, and is repeated after 2, 4, 8 and
// 16 s, or as a 429 says; what else is refused is dropped. A device that it does not know yet gets nothing, counts as
// having got it, and is not tried again. Where one device has no one-time key to claim, nobody gets the key, and it is
// used all the same (T).
//
// `unstableSendStickyEvents` makes the membership a sticky event of one hour (T), Megolm-encrypted in an encrypted
// room. Its member.id is given by the application; here it is a new UUID for each join. A leave is the delayed event,
// sent early, and so in the clear: {"slot_id", "msc4354_sticky_key"}. Memberships of both formats count, whichever is
// written. What takes an event's place is found by msc4354_sticky_key alone; without it, nothing does. Sticky
// memberships do not count while there is a slot that is not open.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const text = (said) => (typeof said === "string" ? said : said instanceof Error ? String(said) : JSON.stringify(said));

// The SDK logs to the console, and standard output is taken.
for (const level of ["trace", "debug", "log", "info"]) console[level] = () => {};
for (const level of ["warn", "error"]) {
  console[level] = (...said) => say({ event: "warning", level, text: said.map(text).join(" ") });
}

// Node has it from version 22 on.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

const { ClientEvent, createClient, EventType } = await import("matrix-js-sdk");
const { MatrixRTCSessionEvent } = await import("matrix-js-sdk/lib/matrixrtc/index.js");

const LOOK = 50; // milliseconds between two looks
const STICKY = "sticky";

let client, session;

async function until(look) {
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    await new Promise((wake) => setTimeout(wake, LOOK));
  }
}

const key = (bytes, index, { userId, deviceId, memberId }, identity) => ({
  user_id: userId,
  device_id: deviceId,
  member_id: memberId,
  identity,
  index,
  key: Buffer.from(bytes).toString("base64"),
});

const member = ({ userId, deviceId, memberId, rtcBackendIdentity, matrixEvent }) => ({
  user_id: userId,
  device_id: deviceId,
  member_id: memberId,
  identity: rtcBackendIdentity,
  event: matrixEvent.getEffectiveEvent(),
});

const operations = {
  hello() {
    const lock = JSON.parse(readFileSync(new URL("package-lock.json", import.meta.url)));
    return { version: lock.packages["node_modules/matrix-js-sdk"].version };
  },

  async start({ homeserver, user_id: userId, device_id: deviceId, access_token: accessToken, room_id }) {
    client = createClient({ baseUrl: homeserver, userId, deviceId, accessToken });
    await client.initRustCrypto({ useIndexedDB: false });
    client.on(ClientEvent.ReceivedToDeviceMessage, ({ message, encryptionInfo }) => {
      if (message.type !== EventType.CallEncryptionKeysPrefix) return;
      say({ event: "received", message, device_id: encryptionInfo?.senderDevice ?? null });
    });
    await client.startClient();
    // The keys are uploaded after the first sync. Who looks for them before finds nobody to send to.
    await until(async () => {
      const found = await client.downloadKeysForUsers([userId]);
      return found.device_keys[userId]?.[deviceId];
    });
    await client.joinRoom(room_id);
    session = client.matrixRTC.getRoomSession(await until(() => client.getRoom(room_id)));
    session.on(MatrixRTCSessionEvent.EncryptionKeyChanged, (...told) => say({ event: "key", ...key(...told) }));
    session.on(MatrixRTCSessionEvent.MembershipsChanged, () => say({ event: "memberships", ...operations.members() }));
    return {};
  },

  join({ membership, livekit_service_url, options }) {
    const [userId, deviceId] = [client.getUserId(), client.getDeviceId()];
    const unstableSendStickyEvents = membership === STICKY;
    const memberId = unstableSendStickyEvents ? randomUUID() : `${userId}:${deviceId}`;
    const transport = { type: "livekit", livekit_service_url };
    // A state membership names where the oldest one is to be found, a sticky one where it publishes itself.
    const [preferred, own] = unstableSendStickyEvents ? [[], transport] : [[transport], undefined];
    const config = { manageMediaKeys: true, unstableSendStickyEvents, ...options };
    session.joinRTCSession({ userId, deviceId, memberId }, preferred, own, config);
    return { member_id: memberId };
  },

  async leave() {
    await session.leaveRoomSession();
    return {};
  },

  keys() {
    const held = [...(session.encryptionManager?.getEncryptionKeys().values() ?? [])].flat();
    return { keys: held.map((one) => key(one.key, one.keyIndex, one.membership, one.rtcBackendIdentity)) };
  },

  members() {
    return { members: session.memberships.map(member) };
  },

  async stop() {
    await session?.leaveRoomSession();
    client?.stopClient();
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...fields } = JSON.parse(line);
  try {
    say(await operations[op](fields));
  } catch (error) {
    say({ error: String(error) });
  }
}
process.exit(); // timers of the SDK would keep it
