package chaos

import "context"

// Injector brings faults of one family about and takes them back. Each method
// honours its context. All of them may be called at the same time for
// different faults.
type Injector interface {
	// Inject brings the fault about. When it returns an error, some of it may
	// stand: Recover is called then too.
	Inject(ctx context.Context, f Fault) error
	// Active measures once whether the fault is felt. It is called during the
	// fault, and after Recover, when the effect has to be gone.
	Active(ctx context.Context, f Fault) (Effect, error)
	// Recover takes the fault back. It may be called more than once, and for a
	// fault that was never or only half injected.
	Recover(ctx context.Context, f Fault) error
}

// Checker is an optional power of an Injector: it says, before anything
// starts, why it cannot bring a fault about.
type Checker interface {
	Check(f Fault) error
}

// Releaser is an optional power of an Injector: it frees what was kept for a
// fault, such as a probe's connection, once the fault is over.
type Releaser interface {
	Release(f Fault)
}

// Notifier is an optional power of an Injector: it has things to say that the
// record of a run should keep, such as that connections were cut. NewController calls
// Notify once. The fault is zero when the note concerns none in particular.
type Notifier interface {
	Notify(func(f Fault, note string))
}
