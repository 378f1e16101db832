// Builds src/ into app/web/static/, which is committed: nobody needs Node to install or run the service.
import { build, context } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";

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

if (process.argv.includes("--watch")) {
  await (await context(options)).watch();
} else {
  await build(options);
}
