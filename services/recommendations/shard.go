package recommendations

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"

	"golang.org/x/sync/errgroup"
)

// scored is a proposal and the shard that it came from.
type scored struct {
	companion
	shard int
}

// shard holds the companions whose ids fall to it, best first, by the product that they go with.
type shard struct {
	number int
	byID   map[string][]companion
}

// partition deals the companions out to n shards by their own id, so that each
// question concerns every shard.
func partition(all map[string][]companion, n int) []*shard {
	shards := make([]*shard, n)
	for i := range shards {
		shards[i] = &shard{number: i + 1, byID: map[string][]companion{}}
	}
	for id, list := range all {
		for _, c := range list {
			s := shards[owner(c.id, n)]
			s.byID[id] = append(s.byID[id], c)
		}
	}
	for _, s := range shards {
		for _, list := range s.byID {
			slices.SortFunc(list, better)
		}
	}
	return shards
}

func owner(id string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % uint32(n))
}

// better orders by score, and by id where scores are equal, so that answers do not vary.
func better(a, b companion) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id))
}

// top gives the shard's best k for a product.
func (s *shard) top(ctx context.Context, id string, k int) ([]scored, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	list := s.byID[id]
	list = list[:min(k, len(list))]
	out := make([]scored, len(list))
	for i, c := range list {
		out[i] = scored{companion: c, shard: s.number}
	}
	return out, nil
}

// ask puts the question to all shards at once and merges what they say: the
// best k of all are among the best k of each.
func ask(ctx context.Context, shards []*shard, id string, k int) ([]scored, error) {
	answers := make([][]scored, len(shards))
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range shards {
		group.Go(func() (err error) {
			answers[i], err = s.top(ctx, id, k)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	merged := slices.Concat(answers...)
	slices.SortFunc(merged, func(a, b scored) int { return better(a.companion, b.companion) })
	return merged[:min(k, len(merged))], nil
}
