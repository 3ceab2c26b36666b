// Package oracle measures what a fault costs. Tests use it in three steps:
//
//  1. A Fleet (fleet.go) is a set of targets. Every series on a page has the number of the scrape as its value.
//  2. A Receiver (receiver.go) is a remote write endpoint. It decodes requests with Prometheus' own types and records
//     the samples it accepts in a Ledger (ledger.go). A Mode (mode.go) makes it fail in a chosen way.
//  3. Judge (verdict.go) compares both. A Verdict says which scrapes were served and never arrived, and how many
//     samples arrived twice or out of order.
//
// An AddressRange (addresses.go) keeps the ports of scenarios that run at the same time apart. To run the tests of the
// oracle itself:
//
//	cd e2e && go test ./chaos/oracle
package oracle
