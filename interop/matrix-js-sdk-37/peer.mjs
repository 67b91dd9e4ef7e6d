// matrix-js-sdk 37 as a participant of a call, with its Rust crypto: an SDK of the time when keys were room events. One
// request a line, one answer a line, in their order; what has an `event` was not asked for. The requests are those of
// ../matrix-js-sdk/peer.mjs, with `membership` "state" alone.
//
// What is told of a key has no member id: the media are told "<user>:<device>".
//
// What is to be known of version 37.13.0, from the SDK's source; (T) is held by tests/real/test_posted_keys.py:
//   - The event is `io.element.call.encryption_keys` in the room, Megolm-encrypted by the client where the room is (T):
//     {"keys": [{"index", "key": "<unpadded base64 of 16 bytes>"}], "device_id", "call_id": "", "sent_ts"}.
//   - Of an event, this is looked at: that call_id is empty, that keys is an array, that index is a number and the rest
//     is text. Whose Megolm session it came by is not; the user is whom the homeserver names, the device what it says.
//   - What cannot be decrypted is tried once more after a second, and then given up.
//   - Whoever joins has everybody send the present key again, 3 seconds apart at most; whoever leaves has everybody make
//     a new one 3 seconds later, and use it after 5 more.

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

const { createClient } = await import("matrix-js-sdk");
const { MatrixRTCSessionEvent } = await import("matrix-js-sdk/lib/matrixrtc/index.js");

const LOOK = 50; // milliseconds between two looks

let client, session;

async function until(look) {
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    await new Promise((wake) => setTimeout(wake, LOOK));
  }
}

function key(bytes, index, identity) {
  const end = identity.lastIndexOf(":");
  const [user_id, device_id] = [identity.slice(0, end), identity.slice(end + 1)];
  return { user_id, device_id, member_id: identity, identity, index, key: Buffer.from(bytes).toString("base64") };
}

const member = ({ sender, deviceId }) => {
  const identity = `${sender}:${deviceId}`;
  return { user_id: sender, device_id: deviceId, member_id: identity, identity, event: {} };
};

const operations = {
  hello() {
    const lock = JSON.parse(readFileSync(new URL("package-lock.json", import.meta.url)));
    return { version: lock.packages["node_modules/matrix-js-sdk"].version };
  },

  async start({ homeserver, user_id: userId, device_id: deviceId, access_token: accessToken, room_id }) {
    client = createClient({ baseUrl: homeserver, userId, deviceId, accessToken });
    await client.initRustCrypto({ useIndexedDB: false });
    await client.startClient();
    // The keys are uploaded after the first sync. Who looks for them before finds nobody to share with.
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

  join({ livekit_service_url, options }) {
    const focus = { type: "livekit", livekit_service_url, livekit_alias: session.room.roomId };
    const active = { type: "livekit", focus_selection: "oldest_membership" };
    session.joinRoomSession([focus], active, { manageMediaKeys: true, ...options });
    return { member_id: `${client.getUserId()}:${client.getDeviceId()}` };
  },

  async leave() {
    await session.leaveRoomSession();
    return {};
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
  const { id, op, ...fields } = JSON.parse(line);
  try {
    say({ id, ...(await operations[op](fields)) });
  } catch (error) {
    say({ id, error: String(error) });
  }
}
process.exit(); // timers of the SDK would keep it
