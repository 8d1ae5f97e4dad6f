// Package export makes records for a SIEM of the events of a session: one record for each command with what
// became of it, and one for the beginning and the end of each connection. What was sent to commands
// and what they returned is not in them: that stays in the recording.
//
// OCSF is the Open Cybersecurity Schema Framework, version 1.2.0 (https://schema.ocsf.io/1.2.0/),
// ECS the Elastic Common Schema, version 8.17 (https://www.elastic.co/guide/en/ecs/8.17/).
package export
