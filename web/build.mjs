// Builds src/ into app/web/static/, which is committed: nobody needs Node to install or run the service.
import { build, context } from "esbuild";
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";

const out = "../app/web/static";
const options = {
  entryPoints: { app: "src/main.tsx", style: "src/style.css" },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  outdir: out,
  legalComments: "none",
  logLevel: "info",
};

const vendored = ["preact", "uplot"];
const licences = await Promise.all(
  vendored.map(async (name) => {
    const { version } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
    return `${name} ${version}\n\n${await readFile(`node_modules/${name}/LICENSE`, "utf8")}`;
  }),
);
await writeFile(`${out}/licences.txt`, licences.join(`\n${"-".repeat(78)}\n\n`));

// tests/web/test_built.py compares it: what is served must be what the sources say.
const digest = createHash("sha256");
for (const file of ["package-lock.json", ...(await readdir("src", { recursive: true })).map((name) => `src/${name}`)].sort()) {
  if (/\.\w+$/.test(file)) digest.update(`${file}\n`).update(await readFile(file));
}
await writeFile(`${out}/source.sha256`, `${digest.digest("hex")}\n`);

if (process.argv.includes("--watch")) {
  await (await context(options)).watch();
} else {
  await build(options);
}
