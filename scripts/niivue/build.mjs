// Bundles NiiVue into one file without a request to anywhere, and gathers the licences of what is in it.
//
//     cd scripts/niivue && npm ci --ignore-scripts && npm run build [-- FOLDER]
//
// Writes niivue.min.js and niivue.licences.txt to FOLDER, by default app/component, where they are committed: a clone or a
// wheel needs no node. tests/app/test_bundle.py checks that the lock file gives these very bytes.
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../../app/component");

const made = await build({
  absWorkingDir: here,
  entryPoints: ["entry.js"],
  outfile: join(out, "niivue.min.js"),
  alias: { zarrita: "./no_zarr.js" },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none", // they are in niivue.licences.txt
  metafile: true,
  logLevel: "warning",
});

const packages = new Set();
for (const input of Object.keys(made.metafile.inputs)) {
  const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
  if (found) packages.add(found[1]);
}
const texts = [...packages].sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
  // NiiVue's package names its licence but does not hold the text.
  const path = file ? join(folder, file) : join(here, `${name.split("/").pop()}.licence.txt`);
  if (!existsSync(path)) throw new Error(`${name} comes without its licence: put the text into ${path}.`);
  return `${name} ${about.version} (${about.license})\n\n${readFileSync(path, "utf8").replace(/\r/g, "").trim()}\n`;
});
writeFileSync(join(out, "niivue.licences.txt"), texts.join(`\n${"-".repeat(72)}\n\n`));
