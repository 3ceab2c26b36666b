// Package rawsocket reads and writes sockets by system calls that Go's scheduler does not see.
//
// When a process that has slept makes a system call, the runtime starts to watch it: for some 50 rounds of 20 µs each
// (sysmon), which cost as much CPU time as the work of a short request. It also takes the processor from a call of more
// than 20 µs, such as the copy of 64 KiB, and starts another thread. A socket of Go does not block, so its calls are
// short, and need none of that. The runtime's poller still waits for a socket to be ready, so deadlines and Close work
// as usual.
package rawsocket
