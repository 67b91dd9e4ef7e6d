// A headless Chromium with livekit-client in a page (page/), line by line:
//
//   node page.mjs CHROMIUM
//
// {"op": "hello"} -> {"client", "browser"}, their versions
// {"op": "connect", "url", "token"} -> {"identity"}; {"op": "publish"}, {"op": "counts"}: see page/page.js
// {"op": "keys", "keys": [[identity, index, key in base64], ...]} -> {}
// {"op": "screenshot", "path"} -> {}; a PNG
//
// An error is answered by {"error"}. The browser ends with the input, and with this process.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const built = dirname(createRequire(import.meta.url).resolve("livekit-client"));
const FILES = {
  "/": [new URL("page/index.html", import.meta.url), "text/html"],
  "/page.js": [new URL("page/page.js", import.meta.url), "text/javascript"],
  "/livekit-client.umd.js": [join(built, "livekit-client.umd.js"), "text/javascript"],
  "/livekit-client.e2ee.worker.js": [join(built, "livekit-client.e2ee.worker.js"), "text/javascript"],
};
const ARGS = [
  "--autoplay-policy=no-user-gesture-required",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-sync",
  "--use-fake-device-for-media-stream", // a moving picture for a camera
  "--use-fake-ui-for-media-stream", // and nobody to ask
];

const server = createServer((request, response) => {
  const [path, type] = FILES[request.url] ?? [];
  if (path === undefined) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": type }).end(readFileSync(path));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

// Debugged by a pipe, the browser ends when this process does, however that ends.
const browser = await chromium.launch({ executablePath: process.argv[2], args: ARGS });
const view = { width: 1016, height: 320 };
const page = await browser.newPage({ viewport: view });
page.on("pageerror", (error) => process.stderr.write(`page: ${error}\n`));
await page.goto(`http://127.0.0.1:${server.address().port}/`);

async function answer({ op, ...fields }) {
  switch (op) {
    case "hello":
      return { client: await page.evaluate(() => LivekitClient.version), browser: browser.version() };
    case "screenshot":
      await page.screenshot({ path: fields.path });
      return {};
    default:
      return page.evaluate(([name, given]) => page[name](given), [op, fields]);
  }
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
await browser.close();
server.close();
