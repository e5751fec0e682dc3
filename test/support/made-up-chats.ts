const things = [
  "kettle",
  "ladder",
  "lamp",
  "bicycle",
  "umbrella",
  "teapot",
  "anvil",
  "harp",
  "compass",
  "drum",
];
const places = ["the shed", "the attic", "the hall", "the cellar", "the porch"];

export interface MadeUpTurn {
  readonly role: string;
  readonly content: string;
}

/** Fifty made-up dialogues of two to five turns about where things are; every third begins with a system turn. */
export const madeUpChats = (): readonly { readonly messages: readonly MadeUpTurn[] }[] =>
  Array.from({ length: 50 }, (_, i) => {
    const thing = things[i % 10] ?? "";
    const place = places[Math.floor(i / 10)] ?? "";
    const turn = (role: string, content: string): MadeUpTurn => ({ role, content });
    return {
      messages: [
        ...(i % 3 === 0 ? [turn("system", "You know where things are.")] : []),
        turn("user", `Where is the ${thing}?`),
        turn("assistant", `The ${thing} is in ${place}.`),
        ...(i % 2 === 0
          ? [
              turn("user", `And how many are there — more than ${String(i)}?\n\nThink first.`),
              turn(
                "assistant",
                `There are ${String(i + 1)} of them in ${place}, naïve friend 日本.`,
              ),
            ]
          : []),
      ],
    };
  });
