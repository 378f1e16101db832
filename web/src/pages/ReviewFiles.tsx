// Verdicts as files, and the way to Label Studio and back.

import { useState } from "preact/hooks";
import { useMay } from "../access";
import { download, part, type Problem, upload } from "../api";
import type { Dataset } from "../contract";
import { asProblem } from "../data";
import { Card, Failure } from "../parts";
import { number, t } from "../words";

interface Imported {
  received: number;
  rejected_total: number;
}

export function ReviewFiles({ dataset, onImported }: { dataset: Dataset; onImported: () => void }) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [imported, setImported] = useState<Imported | null>(null);
  const mayWrite = useMay("write");
  const base = `/v1/datasets/${part(dataset.name)}`;
  const save = (path: string, name: string) => () => {
    setProblem(null);
    download(base + path, `${dataset.name}-${name}`).catch((error) => setProblem(asProblem(error)));
  };
  const read = async (file: File | undefined) => {
    if (!file) return;
    setProblem(null);
    try {
      setImported(await upload<Imported>(`${base}/reviews/import`, file, "application/json", () => {}));
      onImported();
    } catch (error) {
      setProblem(asProblem(error));
    }
  };
  return (
    <Card title={t("review_files")}>
      <div class="buttons">
        <button type="button" onClick={save("/reviews/export?format=csv", "verdicts.csv")}>
          {t("export_csv")}
        </button>
        <button type="button" onClick={save("/reviews/export?format=ndjson", "verdicts.ndjson")}>
          {t("export_ndjson")}
        </button>
        <button type="button" onClick={save("/review-queue/export?limit=1000", "tasks.json")}>
          {t("label_studio_tasks")}
        </button>
        <button type="button" onClick={save("/label-studio/config", "label-studio.xml")}>
          {t("label_studio_config")}
        </button>
        {mayWrite && (
          <label class="button">
            {t("label_studio_import")}
            <input type="file" accept=".json" onChange={(event) => void read(event.currentTarget.files?.[0])} />
          </label>
        )}
      </div>
      {problem && <Failure problem={problem} />}
      {imported && (
        <p class="success" aria-live="polite">
          {t("label_studio_read", {
            received: number(imported.received),
            rejected: number(imported.rejected_total),
          })}
        </p>
      )}
    </Card>
  );
}
