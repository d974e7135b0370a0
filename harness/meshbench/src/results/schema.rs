use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{CellRecord, ContractRecord, RunRecord};

/// JSON Schema (2020-12) of the result files: the root accepts any of them, `$defs/RunRecord` is
/// `run.json` alone, `$defs/CellRecord` a file of `cells/`, and `contract.json` is a list of `$defs/ContractRecord`.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let run = generator.subschema_for::<RunRecord>();
    let cell = generator.subschema_for::<CellRecord>();
    let contract = generator.subschema_for::<Vec<ContractRecord>>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "meshbench results",
        "anyOf": [run, cell, contract],
        "$defs": generator.take_definitions(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(String::from));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_resolves() {
        let schema = schema();
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for reference in found {
            assert!(schema.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_object_is_closed_and_every_field_described() {
        let schema = schema();
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            let Some(fields) = definition["properties"].as_object() else { continue };
            assert_eq!(definition["additionalProperties"], false, "{name}");
            for (field, about) in fields {
                assert!(about.to_string().contains("description"), "{name}.{field}");
            }
        }
    }

    #[test]
    fn states_of_a_cell_are_told_apart_by_status() {
        let schema = schema();
        let words: Vec<&str> = schema["$defs"]["Outcome"]["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variant| variant["properties"]["status"]["const"].as_str().unwrap())
            .collect();
        assert_eq!(words, ["ok", "failed", "unsupported", "skipped"]);
    }
}
