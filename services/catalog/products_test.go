package catalog

import (
	"fmt"
	"reflect"
	"testing"
)

func TestSeedProducts(t *testing.T) {
	products := seedProducts()
	if len(products) != seeded {
		t.Fatalf("%d products, want %d", len(products), seeded)
	}
	names, categories := map[string]string{}, map[string]int{}
	for i, p := range products {
		if want := fmt.Sprintf("p-%d", i+1); p.id != want {
			t.Errorf("product %d has id %s, want %s", i, p.id, want)
		}
		if other, taken := names[p.name]; taken {
			t.Errorf("%s and %s are both called %q", p.id, other, p.name)
		}
		names[p.name] = p.id
		categories[p.category]++
		if p.description == "" || p.priceCents < 500 || p.priceCents > 50_000 || p.priceCents%100 != 90 {
			t.Errorf("not believable: %+v", p)
		}
	}
	if len(categories) != 10 {
		t.Errorf("%d categories, want 10: %v", len(categories), categories)
	}
	for category, n := range categories {
		if n != seeded/10 {
			t.Errorf("%d products in %s, want %d", n, category, seeded/10)
		}
	}
	if !reflect.DeepEqual(products, seedProducts()) {
		t.Error("the second list differs from the first")
	}
}

func TestPriceRisesWithTheFinish(t *testing.T) {
	for finish, want := range []int64{3890, 4490, 5090, 5690, 6190} {
		if got := price(3900, finish); got != want {
			t.Errorf("price in finish %d = %d, want %d", finish, got, want)
		}
	}
}
