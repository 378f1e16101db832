// What the caller's key opens. What it does not open is not offered; the service refuses it in any case.

import { createContext } from "preact";
import { useContext } from "preact/hooks";

export type Scope = "read" | "write" | "jobs" | "admin";

export interface Access {
  id: string;
  name: string;
  scopes: Scope[];
}

/** Until it is known, everything is offered. */
export const AccessContext = createContext<Access | null>(null);

export function useMay(scope: Scope): boolean {
  const access = useContext(AccessContext);
  return access === null || access.scopes.includes(scope);
}
