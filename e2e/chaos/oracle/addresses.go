package oracle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// AddressRange is a range of loopback addresses that belongs to one scenario. A receiver that is down closes its port
// for a while. On 127.0.0.1 an outgoing connection of another process could get that port meanwhile; in its own range
// the port stays free.
type AddressRange struct {
	prefix string // "127.90.17."; empty: this machine has only 127.0.0.1
	claim  net.Listener
}

// claimPort is open on the first address of a range that is in use. Nothing connects to it.
const claimPort = 15089

// NewAddressRange claims a free range 127.90.X.0/24 until Close.
func NewAddressRange() (*AddressRange, error) {
	var errs []error
	for range 50 {
		prefix := fmt.Sprintf("127.90.%d.", rand.IntN(256)) //nolint:gosec // separates scenarios, no secret
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

// Listen listens on a port of the host-th address of the range, counted from 2. On a machine with only one loopback
// address it listens on a free port of 127.0.0.1 instead.
func (r *AddressRange) Listen(host, port int) (net.Listener, error) {
	if r.prefix == "" {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return net.Listen("tcp", fmt.Sprintf("%s%d:%d", r.prefix, host, port))
}

// Close releases the range.
func (r *AddressRange) Close() { _ = r.claim.Close() }
