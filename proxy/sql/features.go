package sql

// The features that an analyser reports in Facts.Features: constructs that reach beyond
// the rows and definitions a statement names, or that change who the session is and how
// its next statements are read. Baseline rules deny them by these names; they are part
// of the product's interface and never change their meaning.
const (
	// FeatureCopyProgram is COPY … FROM or TO PROGRAM: a command run on the server's host.
	FeatureCopyProgram = "CopyProgram"
	// FeatureCopyServerFile is COPY from or to a file on the server's host.
	FeatureCopyServerFile = "CopyServerFile"
	// FeatureServerFile is a function that reads, lists or writes files on the server's
	// host, such as pg_read_file, pg_ls_dir or lo_export.
	FeatureServerFile = "ServerFile"
	// FeatureLargeObject is access to large objects: lo_* functions, statements about them.
	FeatureLargeObject = "LargeObject"
	// FeatureRoleEscalation gives a role, or the session, rights beyond its own: CREATE or
	// ALTER ROLE with SUPERUSER, CREATEROLE, CREATEDB, REPLICATION, BYPASSRLS or membership
	// in a predefined role, and GRANT of a predefined (pg_*) role.
	FeatureRoleEscalation = "RoleEscalation"
	// FeatureRoleChange makes the session act as another role: SET ROLE, SET SESSION
	// AUTHORIZATION and their RESET, also by set_config.
	FeatureRoleChange = "RoleChange"
	// FeatureCredential sets a password or holds a credential in its text: a PASSWORD clause,
	// a user mapping, a subscription's connection string.
	FeatureCredential = "Credential"
	// FeatureUntrustedLanguage is CREATE LANGUAGE, or a function in a language other than sql
	// and plpgsql.
	FeatureUntrustedLanguage = "UntrustedLanguage"
	// FeatureDoBlock is DO: code whose effect is not established.
	FeatureDoBlock = "DoBlock"
	// FeatureAlterSystem changes the server's configuration: ALTER SYSTEM, pg_reload_conf.
	FeatureAlterSystem = "AlterSystem"
	// FeatureLoadLibrary loads code into the server: LOAD, a function in language c or
	// internal, the settings that preload libraries.
	FeatureLoadLibrary = "LoadLibrary"
	// FeatureReplication touches replication: publications, subscriptions, slots, origins,
	// logical messages and the WAL.
	FeatureReplication = "Replication"
	// FeatureDropDatabase is DROP DATABASE.
	FeatureDropDatabase = "DropDatabase"
	// FeatureSettingEscape changes a setting that alters how statements are read or what
	// guards apply: standard_conforming_strings, backslash_quote, client_encoding,
	// session_replication_role, row_security, and so on;
	// also by set_config, ALTER ROLE … SET and ALTER DATABASE … SET.
	FeatureSettingEscape = "SettingEscape"
	// FeatureForeignServer reaches other servers: dblink functions, foreign data wrappers,
	// servers, user mappings, foreign tables and IMPORT FOREIGN SCHEMA.
	FeatureForeignServer = "ForeignServer"
	// FeatureEventTrigger is CREATE or ALTER EVENT TRIGGER.
	FeatureEventTrigger = "EventTrigger"
	// FeatureCreateExtension is CREATE or ALTER EXTENSION.
	FeatureCreateExtension = "CreateExtension"
	// FeatureBackendControl acts on other sessions: pg_terminate_backend, pg_cancel_backend,
	// memory-context logging.
	FeatureBackendControl = "BackendControl"
	// FeatureServerControl acts on the server as a whole: backup, promotion, log rotation,
	// WAL switches, CHECKPOINT, statistics resets.
	FeatureServerControl = "ServerControl"
	// FeatureDynamicSQL runs SQL given as a value: query_to_xml and its kin, cursor_to_xml,
	// ts_stat, the two-argument ts_rewrite, database_to_xml.
	FeatureDynamicSQL = "DynamicSQL"
	// FeatureFunctionCall is a call of a function that is not known to be free of side
	// effects: user-defined, or a built-in off the allow-list.
	FeatureFunctionCall = "FunctionCall"
	// FeatureAdvisoryLock takes or releases advisory locks.
	FeatureAdvisoryLock = "AdvisoryLock"
	// FeatureSecurityDefiner is CREATE or ALTER FUNCTION … SECURITY DEFINER.
	FeatureSecurityDefiner = "SecurityDefiner"
	// FeatureRowSecurity changes row security: policies, ENABLE, DISABLE, FORCE ROW LEVEL
	// SECURITY.
	FeatureRowSecurity = "RowSecurity"
	// FeatureTrigger creates, enables or disables triggers or rules.
	FeatureTrigger = "Trigger"
	// FeatureTwoPhase is PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED: they
	// outlive or reach beyond the session.
	FeatureTwoPhase = "TwoPhase"
	// FeatureCatalogWrite writes to a system catalog, or alters or drops one.
	FeatureCatalogWrite = "CatalogWrite"
)
