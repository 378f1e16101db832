import { useState } from "preact/hooks";
import { useMay } from "../access";
import { part, type Problem, send } from "../api";
import type { DatasetBrief, DatasetDetails } from "../contract";
import { asProblem, useAsked } from "../data";
import { Card, Failure, Field, LabelName, SetBar, Shown } from "../parts";
import { go, to } from "../route";
import { number, percent, t, told } from "../words";

export function Datasets() {
  const list = useAsked<{ items: (DatasetBrief & { details: DatasetDetails | null })[] }>("/v1/datasets?details=true", 5);
  const mayWrite = useMay("write");
  const [making, setMaking] = useState(false);
  return (
    <>
      <div class="title">
        <div>
          <h1>{t("datasets")}</h1>
          <p class="quiet">{t("datasets_lead")}</p>
        </div>
        {mayWrite && (
          <button type="button" class="main" onClick={() => setMaking(true)}>
            {t("new_dataset")}
          </button>
        )}
      </div>
      {making && <NewDataset onClose={() => setMaking(false)} />}
      <Shown {...list}>
        {({ items }) =>
          items.length === 0 ? (
            <p class="empty">{t("no_datasets")}</p>
          ) : (
            <div class="grid">
              {items.map((dataset) => (
                <DatasetCard dataset={dataset} details={dataset.details} key={dataset.name} />
              ))}
            </div>
          )
        }
      </Shown>
    </>
  );
}

function DatasetCard({ dataset, details }: { dataset: DatasetBrief; details: DatasetDetails | null }) {
  const job = details?.last_job;
  return (
    <article class="card">
      <header>
        <h2>
          <a href={to("d", dataset.name)}>{dataset.name}</a>
        </h2>
        <span class="quiet">{told("task", dataset.task)}</span>
      </header>
      {dataset.description && <p>{dataset.description}</p>}
      <p>
        <strong class="figure">{details && number(details.samples)}</strong> {t("samples")}
        {(dataset.labels ?? []).slice(0, 4).map((label) => (
          <LabelName label={label} />
        ))}
      </p>
      <SetBar sizes={details === null || dataset.set_version === null ? {} : details.sets} />
      {job && (
        <p class="quiet">
          {t("last_job")}: <a href={to("jobs", job.id)}>{job.kind}</a>{" "}
          <span class={`state ${job.state}`}>{told("state", job.state)}</span>{" "}
          {job.state === "running" && percent(job.progress.fraction)}
        </p>
      )}
    </article>
  );
}

function NewDataset({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [task, setTask] = useState("classification");
  const [description, setDescription] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const create = async (event: Event) => {
    event.preventDefault();
    try {
      await send("PUT", `/v1/datasets/${part(name)}`, { task, ...(description && { description }) });
      go("d", name, "add");
    } catch (error) {
      setProblem(asProblem(error));
    }
  };
  return (
    <Card title={t("new_dataset")}>
      <form onSubmit={create} class="form">
        <Field label={t("name")}>
          <input
            required
            autofocus
            pattern="[A-Za-z0-9][A-Za-z0-9._\-]{0,63}"
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </Field>
        <Field label={t("task")}>
          <select value={task} onChange={(event) => setTask(event.currentTarget.value)}>
            {["classification", "relevance"].map((one) => (
              <option value={one}>{told("task", one)}</option>
            ))}
          </select>
        </Field>
        <Field label={t("description")}>
          <input value={description} onInput={(event) => setDescription(event.currentTarget.value)} />
        </Field>
        {problem && <Failure problem={problem} />}
        <div class="buttons">
          <button type="submit" class="main">
            {t("create")}
          </button>
          <button type="button" onClick={onClose}>
            {t("cancel")}
          </button>
        </div>
      </form>
    </Card>
  );
}
