// Package bug owns the shop's seeded bugs: mistakes that real systems of this kind were built with, each switched on by
// the environment (BUG=double-charge) and off otherwise. They are there for the audit: a check that was never seen to
// fail proves nothing. Which line of a service goes wrong is the service's own business; here is
// what there is, and how it is chosen.
package bug

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// Variable is the variable of the environment that switches a bug on.
const Variable = "BUG"

// Name is that of a bug; empty is none.
type Name string

// The bugs.
const (
	DoubleCharge        Name = "double-charge"
	DoubleCompensation  Name = "double-compensation"
	ForgetRefund        Name = "forget-refund"
	FalseAck            Name = "false-ack"
	FalseRefusal        Name = "false-refusal"
	DuplicateOrder      Name = "duplicate-order"
	PublishBeforeCommit Name = "publish-before-commit"
	LostOutbox          Name = "lost-outbox"
	AckBeforeEffect     Name = "ack-before-effect"
	Oversell            Name = "oversell"
	StaleSoldOut        Name = "stale-sold-out"
	CoarseDedup         Name = "coarse-dedup"
)

// Bug is one seeded bug.
type Bug struct {
	Name     Name
	Service  string // that has it
	About    string // what it does wrong, in a sentence
	Scenario string // the bundled scenario that brings it out, and its variant
	Variant  string
	Broken   string // the invariant that it breaks, as the audit calls it
}

// Catalog returns every bug. The slice is the caller's own.
func Catalog() []Bug {
	const lost, crash, partition = "lost-answers", "crash-between-charge-and-reply", "partition-during-checkout"
	return []Bug{
		{DoubleCharge, "payments", "Sends captures to the bank without an idempotency key, so that a repeated one is booked again.", lost, "repeated", "charged-once"},
		{DoubleCompensation, "payments", "Sends each refund under a new key, so that a repeated one gives the money back again.", lost, "not-repeated", "charged-once"},
		{ForgetRefund, "orders", "Takes a charge that was not answered for one that was not made, and gives nothing back.", lost, "not-repeated", "saga-whole"},
		{FalseAck, "gateway", "Tells the customer 201 when orders did not answer: it will have worked.", lost, "not-repeated", "acknowledged-lost"},
		{FalseRefusal, "gateway", "Tells the customer 409 when orders did not answer: it will not have worked.", lost, "not-repeated", "refused-done"},
		{DuplicateOrder, "orders", "Does not look at the customer's idempotency key: a repeated request is another order.", lost, "repeated", "done-once"},
		{PublishBeforeCommit, "orders", "Announces an order as soon as it is paid, before that is written down.", crash, "correct", "event-once"},
		{LostOutbox, "orders", "Keeps events in memory and writes them into the outbox a while after the order is confirmed.", crash, "correct", "event-once"},
		{AckBeforeEffect, "shipping", "Acknowledges a message before it has handled it.", crash, "correct", "effect-lost"},
		{Oversell, "inventory", "Reserves without asking whether there is enough.", partition, "correct", "stock-conserved"},
		{StaleSoldOut, "inventory", "Remembers that a product was sold out, and does not notice when stock comes back.", partition, "correct", "linearizable"},
		{CoarseDedup, "notifications", "Knows a repeated message by its order alone: that it was shipped is taken for what was told already.", lost, "repeated", "effect-lost"},
	}
}

// Names lists the names of all bugs.
func Names() []string {
	var out []string
	for _, b := range Catalog() {
		out = append(out, string(b.Name))
	}
	return out
}

// Find returns the bug of that name; nil for none. The error says which there are.
func Find(name string) (*Bug, error) {
	if name == "" {
		return nil, nil
	}
	for _, b := range Catalog() {
		if string(b.Name) == name {
			return &b, nil
		}
	}
	text := fmt.Sprintf("%s=%s: there is no such bug", Variable, name)
	if near := parameter.Nearest(name, Names()); near != "" {
		text += fmt.Sprintf("; did you mean %q", near)
	}
	return nil, fmt.Errorf("%s; permitted: %s", text, strings.Join(Names(), ", "))
}

// In returns the bug that the environment gives a service, or none: a bug of another service is none of its
// business. One that is on is a warning in the log, so that nobody takes what follows for the shop's real self.
func In(env interface{ Get(string) string }, service string, log *slog.Logger) (Name, error) {
	found, err := Find(env.Get(Variable))
	if err != nil || found == nil || found.Service != service {
		return "", err
	}
	log.Warn("A SEEDED BUG IS ON: this service goes wrong on purpose", "bug", string(found.Name), "about", found.About)
	return found.Name, nil
}
