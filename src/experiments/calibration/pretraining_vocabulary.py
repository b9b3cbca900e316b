# ruff: noqa: SIM905 - a word list reads better as one string
"""English words of the pretraining text, by their role in an invented tool, and syllables."""

VERBS = (
    "brew carve glue fold mend polish sketch tune wrap scan sort stack trim weigh bake boil "
    "count load move drop hide join keep lift mark name push read ride save seal send ship "
    "show sign spin stop swap test trade turn type use view wait walk watch wind book call "
    "change create find get make open play put rent report search set tell track write switch"
).split()
NOUNS = (
    "kettle statue label map engine poster blade violin gift page pile wire scale cake soup "
    "token truck crate box nest rope fence tower wheel arrow badge beam belt bell brick broom "
    "cloth coin crown cup desk door dust farm field flag flame fork frame gate glass glove "
    "grain hat hook horn jar jewel key kite knot lake leaf lock mask mill moon nail net oven "
    "paint panel pearl pipe plate pond quilt ring river rock roof sail screw seed shelf shell "
    "ship shoe sign silk skirt soap spoon stamp star stick stove sword tent thread tile torch "
    "tree tube valley vase wagon wall watch whistle window wing wool yard alarm weather table "
    "message flight money cart parcel event song light car bill contact place taxi novel food "
    "problem order dinner meeting calendar library priority"
).split()
ADJECTIVES = (
    "fresh broken heavy narrow quiet bright dusty empty gentle hollow large long new plain "
    "quick rough round sharp simple slow small soft solid strong tall thin warm wet wide wild"
).split()
PARAMETERS = (
    "color length target source height owner level mode label weight speed count price size "
    "shape reason note address country team brand code number name option style depth angle "
    "volume start end limit rank page status kind model key tag value amount title person city "
    # The argument names of toolworld's tools. With tied embeddings, a frozen base can only generate
    # tokens that it has been trained to generate.
    "date time unit place people text urgent days origin destination product quantity gift parcel "
    "details song room thing borrower until age stock guest arrival order customer paid film "
    "sender subject region kilometers flat hours windows student course plant liters slogan "
    "copies paper pet portion museum visitors boat harbor player points ship port"
).split()
SMALL = "with for at on in to from by of about until near and as into the a my".split()
TOPICS = (
    "weather forecast rain warm temperature celsius fahrenheit restaurant reserve people evening "
    "text urgent hurry words wake weekend daily weekdays origin destination plane search money "
    "currency amount euro dollar yen pound cart product quantity gift basket parcel shipment "
    "arrived details package order event calendar meeting called song music volume room kitchen "
    "bedroom garage office heating degrees lamp garden hall switch hire vehicle medium days "
    "invoice bill account total settle transfer contact phone remember address rate review "
    "stars place leave taxi cab ride seats pickup library book author title year novel log meal "
    "breakfast lunch dinner grams food ate ticket support report problem normal high low about "
    "lend thing borrower loan until cancel refund stop down what was eaten with wrapped "
    "milk bread chair table camera guitar bicycle laptop jacket boots umbrella coffee sugar rice "
    "paper pencil mirror carpet blanket bottle candle hammer ladder drum piano clock wallet buy "
    "fix clean sell bring paint check return collect which mean help cannot sorry have old lives "
    "customer paid guest arrives film begins sender subject letter wrote price stock costs "
    "thanks please also then after result again how does threat password house steal dollars"
).split()
ONSETS = "b c d f g h j k l m n p r s t v w z br dr gr kr pl st tr sh ch th".split()
VOWELS = "a e i o u a e i o u ai ea oo ou ia".split()
CODAS = ("", "", "", "n", "r", "l", "s", "t", "m", "k", "nd", "rt", "ck", "ng")
