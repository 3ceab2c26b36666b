package oracle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Place is a set of loopback addresses that belong to one scenario, so that a port which a scenario closes for a
// while is nobody else's meanwhile: connections leave from 127.0.0.1, whose ports they take.
type AddressRange struct {
	prefix string // empty: this machine has only 127.0.0.1
	claim  net.Listener
}

// claimPort is where a place is marked as taken; nobody connects to it.
const claimPort = 15089

// NewAddressRange claims 127.90.X.0/24 for some X, until Close.
func NewAddressRange() (*AddressRange, error) {
	var errs []error
	for range 50 {
		prefix := fmt.Sprintf("127.90.%d.", rand.IntN(256)) //nolint:gosec // two scenarios apart, no secret
		claim, err := net.Listen("tcp", fmt.Sprintf("%s1:%d", prefix, claimPort))
		if err == nil {
			return &AddressRange{prefix: prefix, claim: claim}, nil
		}
		errs = append(errs, err)
	}
	claim, err := net.Listen("tcp", "127.0.0.1:0") // macOS has no other address
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	return &AddressRange{claim: claim}, nil
}

// Listen opens port of the host-th address of the place, from 2 on. Where there is only one address it takes a free
// port of that.
func (r *AddressRange) Listen(host, port int) (net.Listener, error) {
	if r.prefix == "" {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return net.Listen("tcp", fmt.Sprintf("%s%d:%d", r.prefix, host, port))
}

// Close gives the addresses back.
func (r *AddressRange) Close() { _ = r.claim.Close() }
