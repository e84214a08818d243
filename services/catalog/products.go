package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// seeded is how many products a new catalog has: p-1 to p-510, of which inventory has plenty but of the last ten.
const (
	seeded = 510
	plenty = 500
)

// product is one thing for sale.
type product struct {
	id          string
	name        string
	category    string
	description string
	priceCents  int64
}

// line is a range of goods: each noun comes in each finish.
type line struct {
	category string
	finishes [5]string
	goods    [10]good
}

type good struct {
	noun  string
	cents int64 // price in the plainest finish
	about string
}

// seedProducts returns the products of a new catalog. It is the same list
// every time. Neighbouring ids are of different categories.
func seedProducts() []product {
	lines := assortment()
	products := make([]product, 0, seeded)
	for i := range seeded {
		l := lines[i%len(lines)]
		nth := i / len(lines)
		g, finish := l.goods[nth%len(l.goods)], nth/len(l.goods)%len(l.finishes)
		name := l.finishes[finish] + " " + g.noun
		if i >= plenty {
			name += ", last pieces"
		}
		products = append(products, product{
			id:          fmt.Sprintf("p-%d", i+1),
			name:        name,
			category:    l.category,
			description: fmt.Sprintf("%s. %s.", strings.ToUpper(name[:1])+strings.ToLower(name[1:]), g.about),
			priceCents:  price(g.cents, finish),
		})
	}
	return products
}

// price makes a finer finish 15 % dearer than the one before it, and ends in 90 cents.
func price(cents int64, finish int) int64 {
	dearer := cents * int64(100+15*finish) / 100
	return (dearer+50)/100*100 - 10
}

// assortment is what the shop sells. The order gives the ids their categories.
func assortment() []line {
	return slices.Concat(forTheRoom(), forTheTable(), forWorkAndGarden(), forLeisure())
}

// forTheRoom is lighting and furniture.
func forTheRoom() []line {
	return []line{
		{"lighting", [5]string{"Matt White", "Black Steel", "Brushed Brass", "Smoked Glass", "Alabaster"}, [10]good{
			{"Desk Lamp", 3900, "Turns and tilts, with a dimmer in the foot"},
			{"Floor Lamp", 8900, "Throws its light on the ceiling and leaves the corners dark"},
			{"Pendant", 6400, "Hangs on two metres of woven cable"},
			{"Wall Light", 4500, "Two bulbs, one up and one down"},
			{"Clip Lamp", 1900, "Grips shelves up to four centimetres thick"},
			{"Reading Light", 2900, "A small circle of warm light for one page"},
			{"Table Lantern", 3400, "Runs a whole evening on one charge"},
			{"Spot", 2400, "Aims where it is told to"},
			{"Night Light", 1400, "Knows when it is dark"},
			{"Garland", 2200, "Twenty bulbs on ten metres"},
		}},
		{"furniture", [5]string{"Pine", "Birch", "Ash", "Oak", "Walnut"}, [10]good{
			{"Side Table", 7900, "Holds a lamp, a book and a glass"},
			{"Bookcase", 18900, "Six boards, each carries thirty kilograms"},
			{"Stool", 4900, "Stacks four high"},
			{"Bench", 12900, "Seats three who like each other"},
			{"Writing Desk", 27900, "With a drawer for what should not be seen"},
			{"Dining Chair", 9900, "The back gives a little"},
			{"Bedside Chest", 11900, "Two drawers that close by themselves"},
			{"Coat Stand", 6900, "Eight hooks and a tray for wet umbrellas"},
			{"Wall Shelf", 3900, "Hangs on two hidden brackets"},
			{"Shoe Rack", 5400, "Room for twelve pairs"},
		}},
	}
}

// forTheTable is what one cooks in and eats from, and the cloth below.
func forTheTable() []line {
	return []line{
		{"kitchen", [5]string{"Enamel", "Stainless", "Cast-Iron", "Copper", "Hammered"}, [10]good{
			{"Saucepan", 3900, "Pours left and right"},
			{"Frying Pan", 4400, "Goes from the stove into the oven"},
			{"Stockpot", 6900, "Eight litres, for soup on a Sunday"},
			{"Kettle", 4900, "Whistles a third"},
			{"Colander", 2400, "Drains pasta for six"},
			{"Mixing Bowl", 1900, "Does not slide on the counter"},
			{"Roasting Tin", 3400, "Takes a goose, just"},
			{"Milk Pan", 2600, "Small, with a long handle"},
			{"Bread Tin", 1700, "For a loaf of a kilogram"},
			{"Ladle", 1100, "Fills a plate in two goes"},
		}},
		{"tableware", [5]string{"Plain", "Speckled", "Blue-Rimmed", "Celadon", "Hand-Thrown"}, [10]good{
			{"Dinner Plate", 1400, "Fits every dishwasher that we tried"},
			{"Soup Bowl", 1300, "Deep enough to stay warm"},
			{"Mug", 1200, "A third of a litre"},
			{"Espresso Cup", 900, "Thick walls, a thumb's rest"},
			{"Teapot", 3900, "The lid stays on when it pours"},
			{"Serving Platter", 3400, "Long, for a fish or a cake"},
			{"Salad Bowl", 2900, "With room to toss"},
			{"Butter Dish", 2100, "Keeps half a pound"},
			{"Jug", 2600, "Does not drip"},
			{"Egg Cup", 600, "Stands firm"},
		}},
		{"textiles", [5]string{"Cotton", "Washed Linen", "Wool", "Alpaca", "Cashmere"}, [10]good{
			{"Throw", 5900, "For two on a sofa"},
			{"Cushion", 2900, "Filled with feathers, cover washable"},
			{"Tea Towel", 900, "Leaves no fluff on glasses"},
			{"Tablecloth", 4400, "For a table of six"},
			{"Napkin Set", 1900, "Four of them"},
			{"Bath Mat", 2400, "Dries in an hour"},
			{"Curtain", 6900, "Lets the morning in, keeps the neighbours out"},
			{"Apron", 2600, "With a loop for a towel"},
			{"Blanket", 7900, "Warm without weight"},
			{"Seat Pad", 1600, "Ties to the chair"},
		}},
	}
}

// forWorkAndGarden is for the desk and the flower bed.
func forWorkAndGarden() []line {
	return []line{
		{"office", [5]string{"Grey", "Forest Green", "Navy", "Terracotta", "Black Edition"}, [10]good{
			{"Notebook", 1200, "192 pages that lie flat"},
			{"Fountain Pen", 3900, "Writes at the first touch"},
			{"Pencil Case", 1700, "Stands open on the desk"},
			{"Desk Pad", 2900, "Room for a keyboard and an elbow"},
			{"Letter Tray", 2400, "In and out"},
			{"Bookend", 1500, "One is enough, two are nicer"},
			{"Wall Calendar", 1900, "A year on one sheet"},
			{"Document Box", 2200, "Closes with a ribbon"},
			{"Stapler", 1800, "Twenty sheets"},
			{"Paper Weight", 1600, "Heavier than it looks"},
		}},
		{"garden", [5]string{"Galvanised", "Powder-Coated", "Cedar", "Corten", "Teak"}, [10]good{
			{"Watering Can", 2900, "Nine litres, balanced when full"},
			{"Planter", 4900, "Drains into a tray"},
			{"Bird House", 2600, "Great tits move in by April"},
			{"Trowel", 1400, "Measures depth on its blade"},
			{"Garden Bench", 22900, "Grows silver in two winters"},
			{"Trellis", 3900, "For beans, roses and clematis"},
			{"Lantern", 3400, "Shelters a candle from wind"},
			{"Compost Bin", 8900, "300 litres, a door at the foot"},
			{"Plant Table", 9900, "At the height of a hip"},
			{"Rain Gauge", 1900, "Up to 40 millimetres"},
		}},
	}
}

// forLeisure is for being out, playing and listening.
func forLeisure() []line {
	return []line{
		{"outdoors", [5]string{"Trail", "Alpine", "Coast", "Polar", "Expedition"}, [10]good{
			{"Backpack", 8900, "28 litres and a pocket that one finds"},
			{"Rain Jacket", 12900, "Packs into its own hood"},
			{"Water Bottle", 2400, "Keeps cold a day, hot half of it"},
			{"Head Torch", 3400, "300 lumens, red light for maps"},
			{"Sleeping Bag", 14900, "Down to four degrees"},
			{"Camp Stove", 5900, "A litre boils in four minutes"},
			{"Trekking Poles", 6900, "Fold to 38 centimetres"},
			{"Dry Bag", 1900, "Floats"},
			{"Beanie", 2200, "Covers the ears"},
			{"Tent", 24900, "Two sleep, one pitches it"},
		}},
		{"toys", [5]string{"Beech", "Painted", "Maple", "Rainbow", "Heirloom"}, [10]good{
			{"Building Blocks", 3400, "Sixty pieces in a bag"},
			{"Train Set", 5900, "A figure of eight with a bridge"},
			{"Marble Run", 4900, "Never the same way twice"},
			{"Puzzle", 1900, "48 pieces, one more than one thinks"},
			{"Doll's House", 9900, "Three floors, a working door"},
			{"Pull-Along Dog", 2400, "Wags when it rolls"},
			{"Stacking Rings", 1700, "Any order will do"},
			{"Chess Set", 6400, "With a box that is the board"},
			{"Kaleidoscope", 1500, "Turn it once more"},
			{"Spinning Top", 900, "Two minutes, if you are good"},
		}},
		{"audio", [5]string{"Studio", "Silver", "Graphite", "Walnut-Cased", "Reference"}, [10]good{
			{"Headphones", 11900, "Closed, 32 ohms, a cable that comes off"},
			{"Bookshelf Speaker", 19900, "Five inches of paper cone"},
			{"Turntable", 24900, "33 and 45, belt-driven"},
			{"Radio", 8900, "Finds a station by a knob"},
			{"Earphones", 5900, "Three sizes of tips"},
			{"Microphone", 12900, "Cardioid, with a stand"},
			{"Headphone Amplifier", 14900, "Fits under a book"},
			{"Speaker Stand", 7900, "Filled with sand, by you"},
			{"Record Brush", 1500, "A million fibres"},
			{"Speaker Cable", 2900, "Three metres, gold where it touches"},
		}},
	}
}
