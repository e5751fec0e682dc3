/**
 * What is known in the demo's world: the tables that the language model reads about and is asked about.
 *
 * Plain lists, one fact a line, columns split at "|", so that adding a fact is adding a line. Everything here is written for
 * this project; nothing is taken from the data sets that the eight sets resemble.
 */

/** The non-empty lines of a table, each split at "|" and trimmed. */
const table = (text: string): readonly (readonly string[])[] =>
  text
    .split("\n")
    .map((line) => line.split("|").map((cell) => cell.trim()))
    .filter((cells) => cells.some((cell) => cell !== ""));

const cell = (cells: readonly string[], column: number): string => {
  const value = cells[column];
  if (value === undefined || value === "")
    throw new TypeError(`a table line has no column ${String(column)}: ${cells.join(" | ")}`);
  return value;
};

export interface Animal {
  readonly name: string;
  readonly kind: string;
  readonly colour: string;
  readonly home: string;
  readonly food: string;
}

export const animals: readonly Animal[] = table(`
  fox         | mammal    | orange | forest    | mice
  wolf        | mammal    | grey   | forest    | meat
  bear        | mammal    | brown  | forest    | honey
  deer        | mammal    | brown  | forest    | leaves
  squirrel    | mammal    | red    | forest    | nuts
  badger      | mammal    | black  | forest    | roots
  hedgehog    | mammal    | brown  | garden    | worms
  mole        | mammal    | black  | garden    | worms
  rabbit      | mammal    | grey   | meadow    | grass
  hare        | mammal    | brown  | meadow    | grass
  cow         | mammal    | white  | barn      | grass
  horse       | mammal    | brown  | barn      | hay
  donkey      | mammal    | grey   | barn      | hay
  sheep       | mammal    | white  | meadow    | grass
  goat        | mammal    | white  | mountains | leaves
  pig         | mammal    | pink   | barn      | roots
  cat         | mammal    | black  | barn      | mice
  bat         | mammal    | black  | cave      | insects
  lion        | mammal    | yellow | plains    | meat
  tiger       | mammal    | orange | jungle    | meat
  panther     | mammal    | black  | jungle    | meat
  monkey      | mammal    | brown  | jungle    | fruit
  gorilla     | mammal    | black  | jungle    | leaves
  elephant    | mammal    | grey   | plains    | leaves
  giraffe     | mammal    | yellow | plains    | leaves
  zebra       | mammal    | white  | plains    | grass
  camel       | mammal    | brown  | desert    | grass
  whale       | mammal    | blue   | sea       | shrimp
  dolphin     | mammal    | grey   | sea       | fish
  seal        | mammal    | grey   | sea       | fish
  otter       | mammal    | brown  | river     | fish
  beaver      | mammal    | brown  | river     | roots
  yak         | mammal    | black  | mountains | grass
  owl         | bird      | brown  | forest    | mice
  eagle       | bird      | brown  | mountains | meat
  crow        | bird      | black  | meadow    | seeds
  robin       | bird      | red    | garden    | worms
  sparrow     | bird      | brown  | garden    | seeds
  swan        | bird      | white  | pond      | weeds
  duck        | bird      | green  | pond      | weeds
  goose       | bird      | white  | pond      | grass
  hen         | bird      | brown  | barn      | seeds
  parrot      | bird      | green  | jungle    | fruit
  toucan      | bird      | black  | jungle    | fruit
  flamingo    | bird      | pink   | pond      | shrimp
  penguin     | bird      | black  | sea       | fish
  gull        | bird      | white  | sea       | fish
  heron       | bird      | grey   | river     | fish
  vulture     | bird      | black  | desert    | meat
  kingfisher  | bird      | blue   | river     | fish
  canary      | bird      | yellow | garden    | seeds
  salmon      | fish      | pink   | river     | insects
  trout       | fish      | brown  | river     | insects
  shark       | fish      | grey   | sea       | meat
  tuna        | fish      | blue   | sea       | shrimp
  cod         | fish      | grey   | sea       | shrimp
  carp        | fish      | brown  | pond      | weeds
  goldfish    | fish      | orange | pond      | weeds
  eel         | fish      | black  | river     | worms
  bee         | insect    | yellow | garden    | nectar
  wasp        | insect    | yellow | garden    | fruit
  ant         | insect    | black  | garden    | seeds
  moth        | insect    | grey   | barn      | wool
  beetle      | insect    | black  | forest    | leaves
  butterfly   | insect    | blue   | meadow    | nectar
  ladybird    | insect    | red    | garden    | insects
  cricket     | insect    | brown  | meadow    | leaves
  grasshopper | insect    | green  | meadow    | grass
  locust      | insect    | yellow | desert    | leaves
  dragonfly   | insect    | blue   | pond      | insects
  snake       | reptile   | green  | jungle    | mice
  lizard      | reptile   | green  | desert    | insects
  turtle      | reptile   | green  | sea       | weeds
  tortoise    | reptile   | brown  | desert    | grass
  crocodile   | reptile   | green  | river     | meat
  gecko       | reptile   | orange | desert    | insects
  cobra       | reptile   | brown  | plains    | mice
  iguana      | reptile   | green  | jungle    | fruit
`).map((line) => ({
  name: cell(line, 0),
  kind: cell(line, 1),
  colour: cell(line, 2),
  home: cell(line, 3),
  food: cell(line, 4),
}));

/** What covers the body of each kind of animal. */
export const covers: Readonly<Record<string, string>> = {
  mammal: "fur",
  bird: "feathers",
  fish: "fins",
  insect: "six legs",
  reptile: "dry skin",
};

export interface Tool {
  readonly name: string;
  readonly material: string;
  readonly place: string;
  /** What it is for, as a verb phrase: "cut a plank". */
  readonly goal: string;
  /** Tools of one group could stand in for each other, so they never stand against each other in a question. */
  readonly group: string;
}

export const tools: readonly Tool[] = table(`
  saw         | steel   | workshop | cut a plank            | blade
  hammer      | steel   | workshop | drive a nail           | strike
  drill       | steel   | workshop | make a hole in a wall  | pierce
  wrench      | steel   | workshop | tighten a bolt         | turn
  anvil       | iron    | workshop | shape a horseshoe      | strike
  axe         | steel   | shed     | split a log            | blade
  spade       | iron    | shed     | dig a hole             | dig
  rake        | iron    | shed     | gather dry leaves      | sweep
  ladder      | wood    | shed     | reach the roof         | climb
  wheelbarrow | iron    | shed     | move a pile of soil    | carry
  hose        | rubber  | shed     | water the lawn         | wet
  pump        | plastic | shed     | fill a flat tyre       | air
  broom       | straw   | hall     | sweep the floor        | sweep
  umbrella    | nylon   | hall     | stay dry in the rain   | cover
  key         | brass   | hall     | open a locked door     | lock
  basket      | straw   | hall     | carry the apples       | carry
  mat         | rubber  | hall     | wipe muddy shoes       | clean
  mop         | cotton  | bathroom | clean a wet floor      | clean
  towel       | cotton  | bathroom | dry your hair          | cloth
  sponge      | plastic | bathroom | scrub the bath         | clean
  comb        | plastic | bathroom | tidy your hair         | hair
  razor       | steel   | bathroom | shave a beard          | blade
  mirror      | glass   | bathroom | see your own face      | look
  bucket      | plastic | bathroom | carry water            | carry
  spoon       | wood    | kitchen  | stir the soup          | stir
  knife       | steel   | kitchen  | slice the bread        | blade
  kettle      | iron    | kitchen  | boil water             | heat
  oven        | iron    | kitchen  | bake a pie             | heat
  pan         | iron    | kitchen  | fry an egg             | heat
  fridge      | plastic | kitchen  | keep milk cold         | cold
  sieve       | nylon   | kitchen  | drain the noodles      | filter
  jar         | glass   | kitchen  | store the jam          | hold
  whisk       | steel   | kitchen  | beat the cream         | stir
  apron       | cotton  | kitchen  | keep a shirt clean     | cover
  lamp        | brass   | bedroom  | light a dark room      | light
  blanket     | wool    | bedroom  | stay warm in bed       | warm
  pillow      | cotton  | bedroom  | rest your head         | rest
  clock       | brass   | bedroom  | know the time          | time
  needle      | steel   | bedroom  | sew on a button        | pierce
  hanger      | wood    | bedroom  | hang up a coat         | hang
  fan         | plastic | bedroom  | cool a hot room        | air
  curtain     | cotton  | bedroom  | block the morning sun  | cover
  pencil      | wood    | office   | draw a picture         | write
  eraser      | rubber  | office   | remove a pencil line   | erase
  ruler       | plastic | office   | measure a line         | measure
  scissors    | steel   | office   | cut paper              | blade
  stapler     | steel   | office   | join two pages         | join
  stamp       | paper   | office   | post a letter          | post
  calendar    | paper   | office   | find a date            | time
  envelope    | paper   | office   | wrap a letter          | hold
  raft        | wood    | harbour  | cross a lake           | float
  anchor      | iron    | harbour  | keep a ship in place   | hold
  net         | nylon   | harbour  | catch many fish        | catch
  sail        | nylon   | harbour  | move with the wind     | float
  rope        | nylon   | harbour  | tie up a boat          | tie
  compass     | brass   | harbour  | find the north         | look
  whistle     | brass   | harbour  | call for help          | sound
  tent        | nylon   | camp     | sleep in the wild      | rest
  torch       | plastic | camp     | walk home at night     | light
  match       | wood    | camp     | light a fire           | fire
  boots       | rubber  | camp     | keep your feet dry     | wear
  gloves      | wool    | camp     | warm your hands        | warm
  scarf       | wool    | camp     | warm your neck         | warm
  lens        | glass   | camp     | see a tiny bug         | look
`).map((line) => ({
  name: cell(line, 0),
  material: cell(line, 1),
  place: cell(line, 2),
  goal: cell(line, 3),
  group: cell(line, 4),
}));

export interface Feeling {
  readonly name: string;
  /** What somebody who feels so does next: "go to bed". */
  readonly next: string;
  /** What happened to them, in the past tense: "ran a marathon". */
  readonly events: readonly string[];
}

export const feelings: readonly Feeling[] = table(`
  proud    | tell everyone  | won the race; passed the exam; built a cabin; learned to swim; climbed the peak; scored a goal; baked the best cake
  sad      | cry a little   | lost the puppy; missed the farewell; dropped the ice cream; buried the hamster; read a tragic book; failed the audition; broke the old doll
  angry    | shout loudly   | was cheated; was pushed in the queue; was lied to; found the bike stolen; was blamed for nothing; was insulted; was robbed
  afraid   | run away       | heard a ghost; saw a big spider; heard the thunder; stood near the cliff; met a growling dog; woke from a nightmare; smelled smoke
  tired    | go to bed      | ran a marathon; worked all night; carried bricks; rowed for hours; danced till midnight; moved the furniture; hiked thirty miles
  thankful | give thanks    | received a gift; was given a ride; was saved from drowning; got help with homework; got a free meal; was nursed to health; was lent money
  ashamed  | say sorry      | stole a cookie; told a lie; forgot the birthday; broke the window; spilled the wine; cheated in the test; laughed at a friend
  lonely   | call a friend  | ate with nobody; moved to a new town; sat alone; spent the holiday alone; stayed home alone; had no visitors; was left out
  bored    | find a game    | waited for hours; had nothing to do; watched paint dry; heard the same talk twice; counted the tiles; sat through a speech; stared at the wall
  hungry   | eat something  | skipped breakfast; smelled fresh bread; forgot the lunch box; fasted all day; looked at the menu; burned the dinner; found the cupboard bare
  sick     | see a doctor   | ate rotten meat; caught the flu; drank bad milk; had a fever; swallowed soap; rode the wild rollercoaster; ate ten burgers
  cold     | put on a coat  | swam in icy water; lost the mittens; walked in the snow; sat in the freezer; slept without a blanket; stood in the wind; got soaked by rain
`).map((line) => ({
  name: cell(line, 0),
  next: cell(line, 1),
  events: cell(line, 2)
    .split(";")
    .map((event) => event.trim()),
}));

export interface Script {
  /** What is being done: "making tea". */
  readonly title: string;
  /** The steps in their order, in the third person. No step stands in two scripts. */
  readonly steps: readonly string[];
}

export const scripts: readonly Script[] = table(`
  making tea         | fills the pot with water; drops in a tea bag; waits three minutes; sips from the hot cup
  baking bread       | mixes flour with yeast; kneads the dough; lets the loaf rise; takes the crust from the heat
  planting a tree    | carries out the sapling; loosens the earth; sets the roots down; presses the soil flat
  washing a car      | sprays the dusty hood; soaps the doors; rinses off the foam; polishes the wheels
  posting a parcel   | folds the box; tapes the lid; writes the address; hands it to the clerk
  painting a fence   | sands the boards; opens the paint tin; dips the brush; covers the last post
  catching a fish    | baits the hook; casts the line; feels a tug; reels in the catch
  camping            | unrolls the canvas; hammers the pegs; lights the stove; crawls into the sleeping bag
  building a snowman | rolls a huge snowball; stacks the second ball; pushes in a carrot; adds the black hat
  going to a film    | chooses a film; buys the tickets; finds the right seat; watches the screen
  brushing teeth     | wets the toothbrush; squeezes the tube; brushes up and down; spits in the sink
  riding a bus       | waits at the stop; steps on the bus; pays the driver; gets off downtown
  fixing a tyre      | turns the bike over; pulls off the tube; glues on a patch; pumps it up again
  making a salad     | rinses the lettuce; chops the tomatoes; pours on the oil; tosses the bowl
  giving a concert   | tunes the guitar; walks on stage; plays the first song; bows to the crowd
  borrowing a book   | enters the library; searches the shelf; shows the card; reads it at home
  visiting a dentist | sits in the chair; opens wide; hears the drill hum; leaves with clean teeth
  making a dress     | picks a fabric; cuts the pattern; stitches the sleeves; tries it on
  boarding a plane   | packs the suitcase; reaches the airport; passes the gate; fastens the belt
  taking a photo     | aims the camera; asks them to smile; presses the shutter; prints the picture
  doing laundry      | sorts the socks; loads the machine; adds the powder; pegs out the shirts
  milking a cow      | ties up the cow; warms both palms; squirts into the pail; carries the milk in
  having a bath      | plugs the drain; runs the tap; slides into the bubbles; grabs a fluffy robe
  making pancakes    | cracks the eggs; whips the batter; greases the griddle; flips the pancake
  climbing a hill    | laces the boots; follows the trail; reaches the summit; enjoys the view
  playing chess      | sets up the board; moves a pawn; takes the queen; says checkmate
  buying shoes       | asks for a size; walks up and down; pays at the till; wears them outside
  building a fire    | stacks the twigs; strikes a spark; blows on the flame; toasts a marshmallow
  feeding a baby     | heats the bottle; ties on a bib; offers the milk; pats the tiny back
  making juice       | peels an orange; squeezes the halves; strains the pips; drinks the glass
`).map((line) => ({
  title: cell(line, 0),
  steps: cell(line, 1)
    .split(";")
    .map((step) => step.trim()),
}));

export interface Frame {
  /** What the first person did to the second, in the past tense: "lifted". */
  readonly verb: string;
  /** Ends of the sentence that speak of the first person, after "because". */
  readonly first: string;
  /** The same, speaking of the second. */
  readonly second: string;
}

export const frames: readonly Frame[] = table(`
  lifted          | was strong              | was light
  thanked         | felt grateful           | had helped
  punished        | was strict              | had misbehaved
  envied          | was poor                | was rich
  chased          | wanted revenge          | had fled
  taught          | knew algebra            | wanted lessons
  hired           | needed workers          | needed wages
  paid            | owed cash               | had mowed the lawn
  hugged          | felt affection          | looked upset
  feared          | was timid               | was cruel
  praised         | was impressed           | had done well
  followed        | was lost                | knew the way
  fed             | had spare food          | was starving
  visited         | had a day off           | was in hospital
  warned          | saw the danger          | ignored the danger
  asked           | wanted to know          | had the facts
  beat            | played better           | played worse
  forgave         | was kind                | had apologised
  trusted         | was naive               | was honest
  sued            | had suffered            | had caused harm
  believed        | was gullible            | sounded sure
  copied          | had not studied         | wrote neatly
  woke            | got up early            | had overslept
  carried         | had strong arms         | had a broken leg
  comforted       | cared a lot             | was in tears
  interviewed     | was a reporter          | was famous
  arrested        | was an officer          | was a thief
  cured           | was a surgeon           | was a patient
  outran          | was fast                | was slow
  blamed          | was hurt                | had made a mistake
  lent money to   | had savings             | was broke
  apologised to   | felt guilty             | had been wronged
  hid from        | was scared              | was scary
  waited for      | was on time             | was late
  shouted at      | was furious             | was annoying
  looked after    | was a nurse             | was injured
  sold a car to   | wanted to sell          | wanted to buy
  learned from    | was a beginner          | was an expert
  voted for       | liked the plan          | had the best plan
  ran from        | was in panic            | was violent
`).map((line) => ({ verb: cell(line, 0), first: cell(line, 1), second: cell(line, 2) }));

export const names: readonly string[] = (
  "Anna Ben Carla David Emma Felix Grace Henry Ivy Jack Kate Leo Maria Noah Olga Paul Rosa Sam Tina Victor Wendy Adam " +
  "Lucy Oscar"
).split(" ");

export interface Law {
  /** The start of a sentence: "ice in the sun will". */
  readonly cause: string;
  /** Its end: "melt". Several causes may share one; any other effect is wrong. */
  readonly effect: string;
}

export const laws: readonly Law[] = table(`
  ice in the sun will              | melt away
  butter in a hot dish will        | melt away
  wax near a candle will           | melt away
  chocolate in a warm pocket will  | melt away
  water in the deep freeze will    | turn to ice
  a puddle on a frosty night will  | turn to ice
  rain at the north pole will      | turn to ice
  a stone in a lake will           | sink down
  a coin in a well will            | sink down
  a brick in the sea will          | sink down
  an iron nail in a bowl will      | sink down
  a cork in a tub will             | float on top
  oil in a glass of water will     | float on top
  a dry stick in a stream will     | float on top
  a plastic duck in a bath will    | float on top
  an apple let go from a tree will | fall down
  a ball thrown up will            | fall down
  a cup pushed off a table will    | fall down
  a leaf in autumn will            | fall down
  a balloon full of helium will    | rise up
  hot air in a room will           | rise up
  smoke from a chimney will        | rise up
  bubbles in lemonade will         | rise up
  iron left in the rain will       | rust
  an old chain in the mud will     | rust
  a wet steel gate will            | rust
  a ship wreck will                | rust
  a magnet near a pin will         | pull it close
  a magnet near a paper clip will  | pull it close
  the earth near the moon will     | pull it close
  a plant without water will       | wither
  a rose in the dark will          | wither
  a seedling in dry sand will      | wither
  cut tulips in an empty vase will | wither
  a seed in moist soil will        | grow
  a puppy with enough food will    | grow
  a child over the years will      | grow
  a bulb in spring will            | grow
  a mirror in the light will       | shine back
  a polished spoon will            | shine back
  calm water in the moonlight will | shine back
  a dry log in a campfire will     | burn
  paper near a flame will          | burn
  petrol and a spark will          | burn
  coal in a furnace will           | burn
  milk left out for a week will    | go sour
  cream in the summer heat will    | go sour
  yogurt long past its date will   | go sour
  a rubber band when pulled will   | stretch
  chewed gum when pulled will      | stretch
  a spring with a weight will      | stretch
  wet clothes on a line will       | get dry
  a wet road in the sun will       | get dry
  hay in the summer wind will      | get dry
  washed hair near a heater will   | get dry
  a vase thrown on stone will      | break
  a window hit by a rock will      | break
  a dropped egg will               | break
  thin glass under a truck will    | break
  a drum when hit will             | make a noise
  a bell when swung will           | make a noise
  a plucked string will            | make a noise
  two hands that clap will         | make a noise
`).map((line) => ({ cause: cell(line, 0), effect: cell(line, 1) }));
