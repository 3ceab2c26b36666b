// Package diagnose says of each pod that has an Envoy, or should have one, whether it is scraped, and if not, why. It
// only reads: the pods that discovery has seen, the targets that rules made of them, and the state of those targets.
package diagnose
