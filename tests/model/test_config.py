"""Settings: one table, four sources, one order of precedence."""

import copy
import pickle

import pytest

from otel_audit.config import SETTINGS, Settings, load_settings, unknown_variables
from otel_audit.errors import ConfigError


def other_value(setting):
    """A good value that is not the default, and how the environment writes it."""
    if setting.type is bool:
        return not setting.default, str(not setting.default).lower()
    if setting.choices:
        return setting.choices[-1], setting.choices[-1]
    if setting.type is str:
        return "other", " other "
    value = setting.type(setting.default + 1)
    return value, f" {value} "


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_comes_from_each_source(setting, tmp_path):
    """An argument wins over the environment, that over the file, that over the default."""
    value, text = other_value(setting)
    file = tmp_path / "settings.toml"
    literal = f'"{value}"' if setting.type is str else str(value).lower()
    file.write_text(f"{setting.name} = {literal}\n")
    config = {"OTEL_AUDIT_CONFIG": str(file)}
    assert load_settings({})[setting.name] == setting.default
    assert load_settings(config)[setting.name] == value
    assert load_settings({setting.env: text})[setting.name] == value
    assert load_settings({}, **{setting.name: value})[setting.name] == value
    default = {setting.env: str(setting.default)} if setting.default != "" else {}
    assert load_settings(config | default)[setting.name] == (setting.default if default else value)
    assert load_settings({setting.env: text}, **{setting.name: setting.default})[setting.name] == setting.default
    assert type(load_settings({setting.env: text})[setting.name]) is setting.type


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented_and_its_default_is_a_good_value(setting):
    assert setting.help.endswith(".")
    assert setting.unit or setting.type is bool
    assert setting.side in ("application", "collector", "reading")
    assert setting.parse(setting.default, "default") == setting.default


NUMBERS = [setting for setting in SETTINGS if setting.type in (int, float)]


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("raw", ["", "x", "nan", "inf", "-inf", "1e999", "-1", "0x10", "1,5", "true"])
def test_a_bad_number_names_its_variable(setting, raw):
    if raw == "":
        assert load_settings({setting.env: " "})[setting.name] == setting.default
        return
    with pytest.raises(ConfigError, match=setting.env):
        load_settings({setting.env: raw})


@pytest.mark.parametrize("raw", [True, None, [1], {}, b"1", float("inf"), float("nan"), 10**400, 1.5])
def test_a_bad_value_of_a_port_is_named_whatever_its_type(raw):
    setting = next(setting for setting in SETTINGS if setting.name == "port")
    with pytest.raises(ConfigError, match="port"):
        setting.parse(raw, "port")


@pytest.mark.parametrize("name", ["timeout_s", "seal_rows"])
def test_a_number_beyond_a_double_is_refused(name):
    with pytest.raises(ConfigError, match=name):
        load_settings({}, **{name: float("inf")})


@pytest.mark.parametrize(
    ("variable", "raw", "rule"),
    [
        ("OTEL_AUDIT_PORT", "65536", "above the greatest value, 65535"),
        ("OTEL_AUDIT_PORT", "-1", "below the least value, 0"),
        ("OTEL_AUDIT_PORT", "43.18", "not a whole number"),
        ("OTEL_AUDIT_INSECURE", "yes", "not true or false"),
        ("OTEL_AUDIT_DURABILITY", "paper", "none of disk, process, memory, collector"),
        ("OTEL_AUDIT_MERGE_FAN_IN", "1", "below the least value, 2"),
    ],
)
def test_the_message_says_what_would_be_right(variable, raw, rule):
    with pytest.raises(ConfigError, match=f"{variable}.*{rule}"):
        load_settings({variable: raw})


@pytest.mark.parametrize("raw", ["true", "TRUE", "1", " True "])
def test_truth_is_written_in_two_ways(raw):
    assert load_settings({"OTEL_AUDIT_INSECURE": raw}).insecure is True
    assert load_settings({"OTEL_AUDIT_INSECURE": "0"}).insecure is False


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"port = ", "Invalid"),
        (b"prot = 1\n", "no such setting: prot"),
        (b"port = inf\n", "port: inf is not a whole number"),
        (b"port = [1]\n", r"port: \[1\] is not a whole number"),
        (b"data_dir = 7\n", "data_dir: 7 is not text"),
        (b"[collector]\nport = 1\n", "no such setting: collector"),
        (b"\xff", "decode"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path, content, rule):
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rule) as caught:
        load_settings({"OTEL_AUDIT_CONFIG": str(file)})
    assert str(file) in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        load_settings({"OTEL_AUDIT_CONFIG": str(tmp_path / "missing.toml")})
    with pytest.raises(ConfigError):
        load_settings({"OTEL_AUDIT_CONFIG": str(tmp_path)})


def test_an_unknown_argument_is_an_error_and_none_means_not_given():
    with pytest.raises(ConfigError, match="no such setting: prot"):
        load_settings({}, prot=1)
    assert load_settings({"OTEL_AUDIT_PORT": "7"}, port=None).port == 7


def test_settings_are_read_by_name_or_attribute_and_never_written():
    settings = load_settings({})
    assert settings.port == settings["port"] == dict(settings)["port"]
    assert len(settings) == len(SETTINGS)
    with pytest.raises(AttributeError):
        settings.port = 1
    with pytest.raises(AttributeError):
        settings.prot  # noqa: B018
    with pytest.raises(TypeError):
        settings["port"] = 1


def test_settings_go_to_another_process_as_they_are():
    settings = load_settings({}, port=7)
    for same in (pickle.loads(pickle.dumps(settings)), copy.copy(settings), copy.deepcopy(settings)):
        assert isinstance(same, Settings)
        assert dict(same) == dict(settings)


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    monkeypatch.setenv("OTEL_AUDIT_PORT", "4711")
    assert load_settings().port == 4711


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one():
    """A misspelt variable would otherwise be a setting that has no effect."""
    env = {
        "OTEL_AUDIT_ENDPIONT": "x",
        "OTEL_AUDIT_ZZZZZ": "y",
        "OTEL_AUDIT_PORT": "1",
        "OTEL_AUDIT_CONFIG": "",
        "A": "",
    }
    assert unknown_variables(env) == [
        "OTEL_AUDIT_ENDPIONT is no setting (did you mean OTEL_AUDIT_ENDPOINT?)",
        "OTEL_AUDIT_ZZZZZ is no setting",
    ]


def test_an_error_about_a_value_names_what_gave_it(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('endpoint = "x"\nprot = 1\n')
    with pytest.raises(ConfigError, match=r"prot \(did you mean port\?\)"):
        load_settings({"OTEL_AUDIT_CONFIG": str(file)})
    with pytest.raises(ConfigError, match=r"^--port: 70000 is above"):
        load_settings({}, named=lambda setting: f"--{setting.name}", port=70000)
