package recommendations

import (
	"fmt"
	"math"
	"math/rand/v2"
)

const (
	products          = 500 // p-1 to p-500, as the catalog seeds them
	basketsPerProduct = 8
	basketSize        = 4

	// datasetSeed is fixed: the same product has the same companions in every run, whatever the run's seed.
	datasetSeed = 20260301
)

// companion is a product that was bought together with another.
type companion struct {
	id    string
	score float64 // 0 to 1: the cosine of the two products' baskets
}

// companions returns, for each product, what was bought with it, from a made-up
// history of baskets. Every product starts some baskets; the rest of a basket is
// drawn so that few products are in many of them, as in a real shop.
func companions() map[string][]companion {
	var ids [products]string
	for i := range ids {
		ids[i] = fmt.Sprintf("p-%d", i+1)
	}
	rng := rand.New(rand.NewPCG(datasetSeed, 0))
	popular := rand.NewZipf(rng, 1.2, 20, products-1)
	var bought [products]int
	together := make([][products]uint16, products)
	for n := range products * basketsPerProduct {
		basket := drawBasket(n%products, popular, rng)
		for i, a := range basket {
			bought[a]++
			for _, b := range basket[i+1:] {
				together[a][b]++
				together[b][a]++
			}
		}
	}
	out := make(map[string][]companion, products)
	for a, row := range together {
		var list []companion
		for b, times := range row {
			if times > 0 {
				score := float64(times) / math.Sqrt(float64(bought[a]*bought[b]))
				list = append(list, companion{id: ids[b], score: score})
			}
		}
		out[ids[a]] = list
	}
	return out
}

// drawBasket returns different products, the first of them as given. The
// order of popularity has nothing to do with the order of ids.
func drawBasket(first int, popular *rand.Zipf, rng *rand.Rand) []int {
	basket := []int{first}
	for size := 2 + rng.IntN(basketSize-1); len(basket) < size; {
		next := int(popular.Uint64()*181+7) % products // 181 is coprime to 500, so this is a permutation
		fresh := true
		for _, have := range basket {
			fresh = fresh && have != next
		}
		if fresh {
			basket = append(basket, next)
		}
	}
	return basket
}
