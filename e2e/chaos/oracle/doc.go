// Package oracle judges what a fault cost. A Fleet is a set of targets whose pages carry the number of the scrape as
// the value of each series; a Receiver is a remote write endpoint that can be told to misbehave and keeps what it
// took, decoded by Prometheus' own messages; Judge compares the two: which scrapes were served and never arrived, what
// arrived twice, what out of order.
package oracle
