package payments

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// TestWholeService runs the service as the shop does, with a bank over HTTP that goes away.
func TestWholeService(t *testing.T) {
	bank := httptest.NewServer(&answering{code: 201, body: `{"id":"cap-1"}`})
	defer bank.Close()
	port := eventstest.FreePort(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- kit.Run(ctx, Service(), kit.Env{"PORT": fmt.Sprint(port), "BANK_ADDR": strings.TrimPrefix(bank.URL, "http://")})
	}()
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := paymentsv1.NewPaymentsClient(conn)
	charge := func(order string) (*paymentsv1.ChargeResponse, error) {
		return client.Charge(ctx, &paymentsv1.ChargeRequest{OrderId: order, AccountId: "a-1", Card: goodCard, AmountCents: 5}, grpc.WaitForReady(true))
	}
	if got, err := charge("o-1"); err != nil || got.GetChargeId() != "cap-1" {
		t.Errorf("got %v, %v", got, err)
	}
	bank.Close()
	_, err = charge("o-2")
	wantCode(t, err, codes.Unavailable, "charging at the bank")
	if got, err := charge("o-1"); err != nil || got.GetChargeId() != "cap-1" {
		t.Errorf("a repetition without the bank: got %v, %v", got, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
