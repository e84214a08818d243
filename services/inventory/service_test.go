package inventory

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// TestWholeService runs the service as the shop does, and again on the same data.
func TestWholeService(t *testing.T) {
	dir := t.TempDir()
	for life := range 2 {
		port := eventstest.FreePort(t)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- kit.Run(ctx, Service(), kit.Env{"PORT": fmt.Sprint(port), "DATA_DIR": dir}) }()
		conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		client := inventoryv1.NewInventoryClient(conn)
		_, err = client.Reserve(ctx, &inventoryv1.ReserveRequest{OrderId: "o-1", Lines: []*inventoryv1.Line{{ProductId: "p-501", Quantity: 5}}}, grpc.WaitForReady(true))
		if err != nil {
			t.Errorf("life %d: %v", life, err)
		}
		_, err = client.Reserve(ctx, &inventoryv1.ReserveRequest{OrderId: "o-2", Lines: []*inventoryv1.Line{{ProductId: "p-501", Quantity: 1}}})
		wantCode(t, err, codes.FailedPrecondition, "available 0")
		conn.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
