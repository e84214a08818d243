package chaos

import "context"

// Injector brings faults of one family about and takes them back. Each method
// honours its context. All of them may be called at the same time for different faults.
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
