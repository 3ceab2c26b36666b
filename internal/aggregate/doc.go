// Package aggregate sums the series of many targets where whole scrapes are seen, so that a mesh's metrics need no
// series per pod.
package aggregate
