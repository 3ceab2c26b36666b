// Package receiver is a small Prometheus for the simulation: it takes remote write 1.0 and 2.0 and judges samples as
// Prometheus' storage does. A request passes in this order:
//
//  1. The fault that is set, if any, may answer, wait or cut the connection (faults.go).
//  2. The body is decoded with Prometheus' own types (decode.go).
//  3. Each sample is judged by the last sample of its series (receiver.go): a newer one is stored, the last one again
//     is taken too, another value for its time is a duplicate, and anything older is out of order.
//  4. Of a 2.0 request, the good samples are stored, and headers say how many. A 1.0 request with a bad sample is
//     rolled back whole. Both are answered with 400 if a sample was bad.
//
// The receiver keeps the last sample of each series. What it stores, and what it refuses as late, goes to a Sink.
package receiver
