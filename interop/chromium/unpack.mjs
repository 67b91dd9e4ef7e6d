// Unpacks the browser, its libraries and a font from the package into this directory.

import { createReadStream, createWriteStream } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { createBrotliDecompress } from "node:zlib";
import tar from "tar-fs";

const here = import.meta.dirname;
const packed = join(dirname(fileURLToPath(import.meta.resolve("@sparticuz/chromium"))), "..", "..", "bin");
const unpacked = (name, out) => pipeline(createReadStream(join(packed, name)), createBrotliDecompress(), out);

await Promise.all([
  unpacked("chromium.br", createWriteStream(join(here, "chromium"), { mode: 0o755 })),
  unpacked("al2023.tar.br", tar.extract(here)), // lib/
  unpacked("fonts.tar.br", tar.extract(here)), // fonts/, and a configuration
]);
