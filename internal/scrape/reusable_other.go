//go:build !unix

package scrape

import "net"

// isReusable returns false, so that each scrape dials: this system cannot read from a socket without waiting.
func isReusable(net.Conn) bool { return false }
