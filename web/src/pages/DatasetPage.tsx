import { useMay } from "../access";
import { part } from "../api";
import type { Dataset } from "../contract";
import { useAsked } from "../data";
import { Shown } from "../parts";
import { to } from "../route";
import { number, t, told, type Word } from "../words";
import { AddSamples } from "./AddSamples";
import { Compare } from "./Compare";
import { MapPage } from "./Map";
import { Overview } from "./Overview";
import { Review } from "./Review";
import { Sample } from "./Sample";
import { Samples } from "./Samples";
import { StartJob } from "./StartJob";

const TABS: [string, Word][] = [
  ["", "overview"],
  ["map", "map"],
  ["samples", "samples_title"],
  ["review", "review"],
  ["compare", "compare"],
  ["start", "start_job"],
  ["add", "add_samples"],
];

export function DatasetPage({ name, path }: { name: string; path: string[] }) {
  const asked = useAsked<Dataset>(`/v1/datasets/${part(name)}`);
  const [tab = "", further] = path;
  const closed = { start: !useMay("jobs"), add: !useMay("write") } as Record<string, boolean>;
  return (
    <Shown {...asked}>
      {(dataset) => (
        <>
          <div class="title">
            <div>
              <h1>{dataset.name}</h1>
              <p class="quiet">
                {told("task", dataset.task)} · {number(dataset.samples)} {t("samples")}
                {dataset.lineage && ` · ${dataset.lineage.model}`}
              </p>
            </div>
          </div>
          <nav class="tabs" aria-label={dataset.name}>
            {TABS.filter(([at]) => !closed[at]).map(([at, word]) => (
              <a
                class={at === tab ? "here" : ""}
                aria-current={at === tab ? "page" : undefined}
                href={at === "start" ? to("d", name, "start", "score") : to("d", name, ...(at ? [at] : []))}
              >
                {t(word)}
              </a>
            ))}
          </nav>
          {tab === "" && <Overview dataset={dataset} />}
          {tab === "map" && <MapPage dataset={dataset} />}
          {tab === "samples" && <Samples dataset={dataset} />}
          {tab === "s" && further !== undefined && <Sample key={further} dataset={dataset} id={further} />}
          {tab === "review" && <Review dataset={dataset} />}
          {tab === "compare" && <Compare dataset={dataset} />}
          {tab === "start" && <StartJob dataset={dataset} kind={further ?? "score"} />}
          {tab === "add" && <AddSamples dataset={dataset} onStored={asked.again} />}
        </>
      )}
    </Shown>
  );
}
