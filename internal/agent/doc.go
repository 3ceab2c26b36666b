// Package agent is the whole program except its command line, log and process: it makes discovery, scrapes, aggregates,
// remote write and pages, connects them, and runs them. Several agents can run in one process.
//
// Read agent.go from top to bottom: Open makes the parts, and Run runs them in the order in which they must end
// (parts.go). A reload gives the parts a new configuration (reload.go). What an agent uses of the machine is in its
// World (world.go), so that a test can give it another network, other disks and other chance.
//
// Invariants:
//   - Nothing that belongs to the process is changed here: signals, the limits of the Go runtime, the log of a library.
//   - Every goroutine of an agent has ended when Run returns. The exception is idle connections of http_sd: Prometheus'
//     client keeps each, with two goroutines, for up to five minutes.
package agent
