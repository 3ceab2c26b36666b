// Package network is a network in memory for simulations: hosts with addresses, listeners, and TCP connections that
// deliver bytes after a delay.
//
// A run repeats exactly. Latencies come from a seed, and each delivery has a nanosecond of its own, so the order in
// which goroutines wake does not depend on ties: a message that is due at 00:00:01.000250 arrives at
// 00:00:01.000250417, the next one of the same microsecond at 00:00:01.000250418.
//
// Everything works by the clock of package time. In a bubble of testing/synctest an hour of silence costs nothing:
// calls that wait do so on a sync.Cond or a timer, never on a mutex. A write starts no goroutine. It notes when its
// bytes arrive, and the reader waits until then.
//
// Errors are those of Linux: a dial to a closed port is refused (ECONNREFUSED) after a round trip, one to an address
// without a host is unreachable (EHOSTUNREACH) after three seconds. A write to a closed peer succeeds, and is answered
// by a reset (ECONNRESET); the next one is a broken pipe (EPIPE). Faults make other hosts behave worse, see Fault.
//
// One mutex guards a network with all its connections. It is never held while a call waits.
package network
