/** What the table has for a key, made and kept there at the first call. */
export const memoized = <K, V>(table: Map<K, V>, key: K, make: () => V): V => {
  const known = table.get(key);
  if (known !== undefined) return known;
  const made = make();
  table.set(key, made);
  return made;
};
