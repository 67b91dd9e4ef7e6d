// Element Call as it is published, in headless Chromium: each user has a page of its own, line by line:
//
//   node peer.mjs CHROMIUM
//
// Pages are asked at the same time: a request carries an id, and its answer the same.
// {"op": "hello"} -> {"version", "browser"}
// {"op": "open", "page", "homeserver", "user_id", "device_id", "access_token", "room_id", "password"} -> {}; a new page
//     of this name, as soon as it shows its lobby. password: that of a link, by which all send; null: there is none
// {"op": "join", "page"} -> {}; as soon as it shows the call
// {"op": "state", "page"} -> see inside.js
// {"op": "screenshot", "page", "path"} -> {}; a PNG
// {"op": "leave", "page"} -> {}; as soon as it shows the call no more
// {"op": "close", "page"} -> {}; as if its window were closed
//
// An error is answered by {"error"}. Between the answers {"log": [page, level, text]}: what the page warns of.
// The browser ends with the input, and with this process.
//
// Element Call is AGPL: it is fetched from npm to be tested against, and no part of it is in this project.
//
// What version 0.26.1 does in the mode "compatibility", as it was seen, and by its source alone where a line has (s):
//
// * Its own membership is a state event with `focus_selection` "multi_sfu" and one focus: the one that its homeserver
//   announces at rtc/transports, or else (s) that of config.json; no .well-known file, and no other member's. It
//   publishes there by /sfu/get, and (s) connects to every other focus to listen, by /get_token or else /sfu/get: two
//   members on two homeservers send to two SFUs.
// * It shows a membership, of state or (s) sticky, whose user is in the room (s), whose slot is m.call#ROOM or ""
//   and which has not expired: `created_ts`, or else the event's time, plus `expires`, or 4 h. It needs application,
//   call_id, device_id and focus_active.type. Media is looked for at `foci_preferred[0]` for "multi_sfu", and for
//   "oldest_membership" at that of the member with the earliest `created_ts`: whoever is sender:device_id there. What
//   comes from others is received, and even decoded where there is a key, and not shown. (s) The single page does not
//   look again at an encrypted sticky membership when it is decrypted.
// * A membership with "multi_sfu" and no `foci_preferred` puts whoever has the page open out of the call, with an
//   error. Of an empty list nothing comes (s).
// * A key event counts by its Matrix sender and `claimed_device_id`, where `room_id`, `keys.key` and a numeric
//   `keys.index` are there (s); also one in clear, that was not encrypted by Olm. One that comes before the membership
//   waits for it; before the page has joined, it is lost (s). A new key for the same index replaces the one before, and
//   the picture is there about 3 s after a late key.
// * It sends its key to the device of every membership once. To a device whose keys it does not know it sends nothing,
//   and does not try again before its next key or a new `created_ts` (s). A joiner gets the key in use if that is
//   younger than 10 s, else everybody a new one; a leave makes a new one at once. A new key is used 1 s later (s). A
//   membership that is written again with the same `created_ts` changes nothing; without it, it is a new one.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import sirv from "sirv";

const PATIENCE = 120_000; // milliseconds
const ARGS = [
  "--autoplay-policy=no-user-gesture-required",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-sync",
  "--use-fake-device-for-media-stream", // a moving picture and a beep each second
  "--use-fake-ui-for-media-stream", // and nobody to ask
];
const VIEW = { width: 1024, height: 720 }; // in a lower one the buttons hide themselves
// Small pictures: two of 720 lines fill two cores.
const CONFIG = JSON.stringify({
  matrix_rtc_mode: "compatibility",
  media_quality: { video: { max_resolution: 180, max_bitrate: 200_000, max_framerate: 15, simulcast_layers: [] } },
});

const require = createRequire(import.meta.url);
const manifest = require.resolve("@element-hq/element-call-embedded/package.json");
const built = join(dirname(manifest), "dist");
const files = sirv(built, { single: true });
const server = createServer((request, response) => {
  if (request.url !== "/config.json") return files(request, response);
  response.writeHead(200, { "Content-Type": "application/json" }).end(CONFIG);
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const origin = `http://127.0.0.1:${server.address().port}`;

// Debugged by a pipe, the browser ends when this process does, however that ends.
const browser = await chromium.launch({ executablePath: process.argv[2], args: ARGS });
const pages = new Map();

const tell = (said) => process.stdout.write(JSON.stringify(said) + "\n");

async function open({ page: name, homeserver, room_id, password, ...session }) {
  const stored = { name: "matrix-auth-store", value: JSON.stringify({ ...session, passwordlessUser: false }) };
  const storageState = { cookies: [], origins: [{ origin, localStorage: [stored] }] };
  const context = await browser.newContext({ storageState, viewport: VIEW });
  context.setDefaultTimeout(PATIENCE);
  await context.addInitScript({ path: fileURLToPath(new URL("inside.js", import.meta.url)) });
  const page = await context.newPage();
  pages.set(name, page);
  page.on("console", (message) => {
    const level = message.type();
    if (level === "warning" || level === "error") tell({ log: [name, level, message.text()] });
  });
  page.on("pageerror", (error) => tell({ log: [name, "error", error.stack ?? String(error)] }));
  const asked = new URLSearchParams({ roomId: room_id, homeserver, ...(password && { password }) });
  await page.goto(`${origin}/room#?${asked}`);
  await page.getByTestId("lobby_joinCall").waitFor();
}

async function answer({ op, page: name, ...fields }) {
  const page = pages.get(name);
  switch (op) {
    case "hello":
      return { version: require(manifest).version, browser: browser.version() };
    case "open":
      await open({ page: name, ...fields });
      return {};
    case "join":
      await page.getByTestId("lobby_joinCall").click();
      await page.getByTestId("incall_leave").waitFor();
      return {};
    case "state":
      return page.evaluate(() => globalThis.inside.state());
    case "screenshot":
      await page.screenshot({ path: fields.path });
      return {};
    case "leave":
      await page.getByTestId("incall_leave").click();
      await page.getByTestId("incall_leave").waitFor({ state: "detached" });
      return {};
    case "close":
      pages.delete(name);
      await page.context().close();
      return {};
  }
  throw new Error(`unknown operation ${op}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, ...asked } = JSON.parse(line);
  answer(asked).then(
    (said) => tell({ id, ...said }),
    (error) => tell({ id, error: String(error) }),
  );
}
await browser.close();
server.close();
