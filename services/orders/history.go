package orders

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// Inventory promises that the stock of a product is linearizable: each Reserve, Release and Ship acts at one moment
// between question and answer, on what all before it left. Orders wrote down when it asked and when it was
// answered (calls.go); the audit's own reading of the stock, after everything, is the last operation of each product. Whether
// there is an order of moments that explains all answers is what porcupine searches for (a checker after Wing and Gong,
// and Lowe). Products are checked one by one: a history is linearizable when that of each object is (Herlihy and Wing, 1990).
//
// A Reserve whose outcome is unknown may have happened, or not, at any moment up to the answer to the order's Release,
// after which it cannot happen any more. Of an order of several products a shortage says nothing of any one of them, and is left out.
//
// The search is bounded: a product with more operations, more unknown outcomes, or a longer search than this is
// not checked, and counted as such.
const (
	mostOperations = 2000
	mostUnknown    = 64
	checkWithin    = time.Second // for one product
	checkAll       = 5 * time.Second
)

// The kinds of operation on the stock of a product.
const (
	opReserve = "reserve"
	opRelease = "release"
	opShip    = "ship"
	opRead    = "read"
)

// stockOp is what was asked of a product's stock, and the answer.
type stockOp struct {
	kind     string
	order    string
	quantity int64
	outcome  string // of a reserve
	slot     int    // of an order whose reserve is unknown, from 1 on; 0: it is known
	read     stockState
}

// stockState is a product's stock between two operations. Took and gone have a bit for each slot: the
// order took its stock; it was released.
type stockState struct {
	available, reserved, shipped int64
	took, gone                   uint64
}

// step carries out an operation, if it can be answered as it was.
func (s stockState) step(op stockOp) (bool, stockState) {
	bit := uint64(0)
	if op.slot > 0 {
		bit = 1 << (op.slot - 1)
	}
	switch op.kind {
	case opReserve:
		return s.reserve(op, bit)
	case opRelease:
		if op.slot == 0 || s.took&bit != 0 {
			s.available, s.reserved = s.available+op.quantity, s.reserved-op.quantity
		}
		s.gone |= bit
		s.took &^= bit
	case opShip:
		s.reserved, s.shipped = s.reserved-op.quantity, s.shipped+op.quantity
	case opRead:
		return s.available == op.read.available && s.reserved == op.read.reserved && s.shipped == op.read.shipped, s
	}
	return true, s
}

func (s stockState) reserve(op stockOp, bit uint64) (bool, stockState) {
	enough := s.available >= op.quantity
	switch {
	case op.outcome == outcomeShort:
		return !enough, s
	case op.outcome == outcomeUnknown && (!enough || s.gone&bit != 0):
		return true, s
	case !enough:
		return false, s
	}
	s.available, s.reserved = s.available-op.quantity, s.reserved+op.quantity
	s.took |= bit
	return true, s
}

// linearizable checks the history of every product that was touched.
func (j *judgement) linearizable() {
	histories := j.histories()
	deadline, checked, beyond := time.Now().Add(checkAll), 0, 0
	for _, p := range j.facts.stock.GetTouched() {
		h := histories[p.GetProductId()]
		if h == nil {
			continue
		}
		h.add(stockOp{kind: opRead, read: stockState{available: p.GetAvailable(), reserved: p.GetReserved(), shipped: p.GetShipped()}}, j.asking.UnixNano(), j.asked.UnixNano())
		left := min(checkWithin, time.Until(deadline))
		if len(h.ops) > mostOperations || h.slots > mostUnknown || left <= 0 {
			beyond++
			continue
		}
		result, info := porcupine.CheckOperationsVerbose(stockModel(p), h.ops, left)
		switch result {
		case porcupine.Unknown:
			beyond++
			continue
		case porcupine.Illegal:
			orders := h.unexplained(info)
			j.violatedBy(linearizable, append([]string{p.GetProductId()}, orders...),
				"no order of %d operations explains all answers about %s: it began with %d, and has %d available, %d reserved, %d shipped", len(h.ops), p.GetProductId(),
				p.GetInitial(), p.GetAvailable(), p.GetReserved(), p.GetShipped())
		}
		checked++
	}
	j.out.Checked["products"], j.out.Checked["products_beyond_bounds"] = checked, beyond
}

func stockModel(p *inventoryv1.Stock) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return stockState{available: p.GetInitial()} },
		Step: func(state, input, _ any) (bool, any) { return state.(stockState).step(input.(stockOp)) },
		DescribeOperation: func(input, _ any) string {
			op := input.(stockOp)
			return fmt.Sprintf("%s %d for %s: %s", op.kind, op.quantity, op.order, op.outcome)
		},
	}
}

// history is that of one product.
type history struct {
	ops   []porcupine.Operation
	slots int
}

func (h *history) add(op stockOp, from, to int64) {
	h.ops = append(h.ops, porcupine.Operation{ClientId: len(h.ops), Input: op, Call: from, Return: max(from, to)})
}

// unexplained lists orders of operations that the longest explanation leaves out, a few of them.
func (h *history) unexplained(info porcupine.LinearizationInfo) []string {
	const most = 5
	explained, longest := map[int]bool{}, -1
	for _, partition := range info.PartialLinearizations() {
		for _, partial := range partition {
			if len(partial) > longest {
				longest, explained = len(partial), map[int]bool{}
				for _, i := range partial {
					explained[i] = true
				}
			}
		}
	}
	var out []string
	for i, op := range h.ops {
		if id := op.Input.(stockOp).order; !explained[i] && id != "" && len(out) < most && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// histories makes the history of each product from all orders, which have ended.
func (j *judgement) histories() map[string]*history {
	out := map[string]*history{}
	for _, o := range j.after {
		quantities := map[string]int64{}
		for _, l := range o.lines {
			quantities[l.ProductID] += l.Quantity
		}
		for product, quantity := range quantities {
			h := out[product]
			if h == nil {
				h = &history{}
				out[product] = h
			}
			j.orderHistory(h, o, quantity, len(quantities) > 1)
		}
	}
	return out
}

// orderHistory adds what was asked of a product's stock for an order.
func (j *judgement) orderHistory(h *history, o *order, quantity int64, several bool) {
	c, asked := j.facts.calls[o.id], j.asking.UnixNano()
	end := c.releaseAnswered
	if o.state != cancelled || end == 0 {
		end = asked
	}
	op := stockOp{kind: opReserve, order: o.id, quantity: quantity, outcome: c.reserve}
	from, to := c.reserveAsked, c.reserveAnswered
	switch {
	case c.reserve == outcomeUnsent, c.reserve == outcomeShort && several:
		return
	case c.reserve == outcomeShort:
		h.add(op, from, to)
		return
	case c.reserve != outcomeOK:
		op.outcome = outcomeUnknown
		h.slots++
		op.slot = h.slots
		from, to = max(from, o.created.UnixNano()), end
	}
	h.add(op, from, to)
	switch {
	case j.reservedFor[o.id] == "shipped":
		h.add(stockOp{kind: opShip, order: o.id, quantity: quantity}, to, asked)
	case o.state == cancelled:
		released := c.releaseAsked
		if released == 0 {
			released = from
		}
		h.add(stockOp{kind: opRelease, order: o.id, quantity: quantity, slot: op.slot}, released, end)
	}
}
