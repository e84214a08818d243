package loadgen

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strconv"

	"maps"

	"go.opentelemetry.io/otel/baggage"

	"github.com/faultline-lab/faultline/observability/names"
)

func putUint64(b []byte, v uint64) { binary.BigEndian.PutUint64(b, v) }

// newTrace returns a trace id and a sampled traceparent (W3C Trace Context)
// that starts that trace. Ids are not drawn from the load's seed: two runs of
// one seed must not share traces in a store that keeps both.
func newTrace() (traceID, parent string) {
	var id [24]byte
	putUint64(id[0:], rand.Uint64())
	putUint64(id[8:], rand.Uint64()|1) // an id of only zeros is not valid
	putUint64(id[16:], rand.Uint64()|1)
	text := make([]byte, 0, 55)
	text = append(text, "00-"...)
	text = hex.AppendEncode(text, id[:16])
	text = append(text, '-')
	text = hex.AppendEncode(text, id[16:])
	text = append(text, "-01"...)
	return string(text[3:35]), string(text)
}

// ownBaggage is how the names of the lab's own baggage begin.
const ownBaggage = "faultline."

// baggagePrefix is the W3C baggage of every request of a load, up to the
// journey's number. Of the extra members of one name the last counts.
func baggagePrefix(load string, extra ...map[string]string) (string, error) {
	var members []baggage.Member
	all := map[string]string{}
	for _, some := range extra {
		maps.Copy(all, some)
	}
	all[names.AttrLoad] = load
	for _, key := range slices.Sorted(maps.Keys(all)) {
		member, err := baggage.NewMemberRaw(key, all[key])
		if err != nil {
			return "", err
		}
		members = append(members, member)
	}
	bag, err := baggage.New(members...)
	if err != nil {
		return "", err
	}
	return bag.String() + "," + names.AttrJourney + "=", nil
}

func journeyBaggage(prefix string, seq uint64) string {
	return prefix + strconv.FormatUint(seq, 10)
}
