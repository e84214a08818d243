package shipping

import (
	"context"

	"github.com/faultline-lab/faultline/services/kit/broker"
)

// handleLater is the seeded bug ack-before-effect: the message is acknowledged at once and handled after, so that
// nobody knows of it any more when the process dies in between, or when handling it fails. It runs only when BUG says so.
func (h *handler) handleLater(ctx context.Context, m broker.Message) error {
	lasting := context.WithoutCancel(ctx)
	go func() { // nobody waits for it: that is the bug
		if err := h.handle(lasting, m); err != nil {
			h.log.WarnContext(lasting, "handling an acknowledged message failed", "id", m.ID, "error", err.Error())
		}
	}()
	return nil
}
