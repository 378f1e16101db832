import { useState } from "preact/hooks";
import { part, type Problem, send } from "../api";
import type { Dataset, DatasetBrief } from "../contract";
import { asProblem, useAsked } from "../data";
import { Card, Failure, Field, LabelName, SetBar, Shown } from "../parts";
import { go, to } from "../route";
import { number, t, told } from "../words";

export function Datasets() {
  const list = useAsked<{ items: DatasetBrief[] }>("/v1/datasets");
  const [making, setMaking] = useState(false);
  return (
    <>
      <div class="title">
        <div>
          <h1>{t("datasets")}</h1>
          <p class="quiet">{t("datasets_lead")}</p>
        </div>
        <button type="button" class="main" onClick={() => setMaking(true)}>
          {t("new_dataset")}
        </button>
      </div>
      {making && <NewDataset onClose={() => setMaking(false)} />}
      <Shown {...list}>
        {({ items }) =>
          items.length === 0 ? (
            <p class="empty">{t("no_datasets")}</p>
          ) : (
            <div class="grid">
              {items.map((dataset) => (
                <DatasetCard name={dataset.name} key={dataset.name} />
              ))}
            </div>
          )
        }
      </Shown>
    </>
  );
}

function DatasetCard({ name }: { name: string }) {
  const asked = useAsked<Dataset>(`/v1/datasets/${part(name)}`);
  return (
    <article class="card">
      <header>
        <h2>
          <a href={to("d", name)}>{name}</a>
        </h2>
        {asked.data && <span class="quiet">{told("task", asked.data.task)}</span>}
      </header>
      <Shown {...asked}>
        {(dataset) => (
          <>
            {dataset.description && <p>{dataset.description}</p>}
            <p>
              <strong class="figure">{number(dataset.samples)}</strong> {t("samples")}
              {(dataset.labels ?? []).slice(0, 4).map((label) => (
                <LabelName label={label} />
              ))}
            </p>
            <SetBar sizes={dataset.set_version === null ? {} : dataset.sets} />
          </>
        )}
      </Shown>
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
