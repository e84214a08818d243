package system

import (
	"strconv"
	"strings"
)

// Instance is one replica of a service, wherever it runs.
type Instance struct {
	Service   string
	Replica   int    // 1-based
	Name      string // catalog-2, or plain orders when there is but one
	Addr      string // host:port of its main port
	AdminAddr string // host:port of its admin port
	PID       int    // of its process on this machine; 0 while it does not run, or runs elsewhere
}

// InstanceName is catalog-2 for the second of several replicas, and the
// service's own name where there is but one.
func InstanceName(svc *Service, replica int) string {
	if svc.Replicas <= 1 {
		return svc.Name
	}
	return svc.Name + "-" + strconv.Itoa(replica)
}

// AddressVariable is the variable that tells a caller where callee is: ORDERS_ADDR.
func AddressVariable(callee string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(callee)) + "_ADDR"
}
