"""Which columns of a table may tell who somebody is, by the words of their names.

A name is taken apart into words (`PatientName`, `patient_name` and `patient name` alike), without
case and accents. Words are those of DICOM's identifying attributes and their like in the languages
of the tables that hospitals keep; a name of a file, a label or a scanner is nobody's.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["identifying"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Wherever they stand.
_ALWAYS = _words(
    # Born when, where and how old to the day: English, German, French, Spanish, Portuguese,
    # Italian, Dutch, Nordic, Polish, Czech, Hungarian, Finnish, Turkish, Romanian.
    "birth born dob bday birthday birthdate birthplace geboren naissance nacimiento nacido "
    "nascimento "
    "nascita nato geboorte fodelse fodsel fodt fodd urodzenia urodzona narozeni szuletes szuletesi "
    "syntymaaika syntymapaiva dogum nasterii "
    # Names of persons.
    "surname surnames lastname firstname forename forenames fullname givenname familyname "
    "middlename maidenname nickname initials "
    "nachname nachnamen vorname vornamen familienname rufname geburtsname "
    "prenom prenoms apellido apellidos cognome sobrenome apelido achternaam voornaam efternamn "
    "fornamn efternavn fornavn etternavn nazwisko imie prijmeni jmeno vezeteknev keresztnev "
    "sukunimi etunimi soyad soyadi soyisim nume prenume imya familiya otchestvo "
    # Numbers of persons, of their stays and their insurance.
    "mrn emr ehr ssn nhs nhsnumber pid pesel bsn cpr cpf curp dni nif nie nir cnp ine aadhaar rrn "
    "personnummer fodselsnummer fodselsnr henkilotunnus hetu rodne taj tckn passport ausweis "
    "accession accessionnumber accessionno insurance versicherung versicherungsnummer "
    "versichertennummer krankenkasse passnummer "
    "patientennummer patientennr fallnummer fallnr aufnahmenummer "
    # Where they live and how they are reached.
    "address addresses adresse adressen direccion endereco indirizzo adres adress osoite street "
    "strasse hausnummer city town wohnort zip zipcode zipcodes postcode postalcode postal plz "
    "phone phones phonenumber telephone telefon telefono telefone tel mobile handy cellphone fax "
    "email emails mail "
    # Where and by whom they were seen.
    "hospital hospitals hospitalname krankenhaus klinik klinikum spital hopital clinic clinique "
    "clinica ospedale ziekenhuis sjukhus sykehus sygehus szpital nemocnice korhaz sairaala hastane "
    "spitalul institution institutions institutionname einrichtung facility praxis "
    "physician physicians doctor arzt aerzte hausarzt medecin medico medica lekarz laakari doktor "
    "radiologist radiologe operator operators technologist "
    "referringphysician performingphysician requestingphysician stationname "
    # Identifiers of DICOM.
    "uid uids"
)
# Days and moments.
_WHEN = _words(
    "date dates datum fecha dato datetime datetimes timestamp timestamps paivamaara tarih"
)
# A name, which is a person's if nothing else in the column's name says what it names.
_NAME = _words(
    "name names namen nom noms nombre nombres nome nomi naam namn navn nimi isim ad adi nev"
)
# A number or identifier, which is a person's under the same condition.
_NUMBER = _words("id ids identifier identifiers number no nr nummer numero num code kennung")
_PERSON = _words(
    "patient patients patientin patienten paciente pacientes paziente pazienti pasient pacjent "
    "pacient potilas hasta person persons personal subject subjects proband case fall individual "
    "client famille familia famiglia familie study exam examination examen visit encounter "
    "admission aufnahme hospitalisation "
    "hospitalization stay order orders requisition medical health record chart "
    "first last middle given family maiden full other others issuer mother father spouse contact "
    "relative guardian national social security citizen s of the de der des du del di da do dos la "
    "le el und and or e et y complete completo completa complet vollstaendiger voller"
)
# Alone, they can only hold who it is.
_WHO = _words(
    "patient patients patientin patienten paciente pacientes paziente pazienti pasient pacjent "
    "pacient potilas hasta person persons subject proband client"
)
# Compounds that are written as one word, and stems that begin one (German, Dutch, Nordic ...).
_COMPOUND = re.compile(
    r"(other)?patients?(full)?(names?|ids?|no|nr|number|nummer)|patientenname|patientenid"
    r"|(study|exam|case|person|subject)(ids?|nr)"
    r"|issuerofpatientid|(physician|operator|institution|doctor)s?names?"
    r"|(study|series|acquisition|content|instancecreation|instance|exam|examination|scan|visit"
    r"|admission|discharge|death|procedure|report|birth|patients?birth|overlay|curve"
    r"|performedprocedurestepstart)(date|datetime|day)"
    r"|(study|series|acquisition|content|instancecreation|patients?birth|birth)time"
    r"|(untersuchungs|aufnahme|entlassungs|studien|serien|befund|todes|sterbe)datum"
    r"|(.*(instance|reference))?uid|(study|series|sop|frame)uid"
    r"|(geburts?|birth|nacim|nascim|naissan|geboorte|fodelse|fodsels|urodz|szulet|syntyma)[a-z]*"
    r"|.*(address|telephone|phonenumber|telefon|telefonnummer)s?"
)
# Scripts that do not part words, or not like ours: found anywhere.
_ELSEWHERE = re.compile(
    "姓名|名字|名前|氏名|患者|病人|病历|病歴|病案|住院号|門診|门诊号|身份证|出生|生日|生年月日|医院|病院|"
    "日期|日付|住址|住所|地址|电话|電話|医生|医師|"
    "이름|성명|환자|생년월일|생일|병원|주민|주소|전화|날짜|"
    "имя|фамили|отчеств|фио|рожден|дата|больниц|клиник|пациент|адрес|телефон|врач|полис|снилс|"
    "ονομα|επωνυμο|γεννησ|νοσοκομει|ασθεν|διευθυνσ|τηλεφων|ημερομηνι|"
    "اسم|الاسم|ميلاد|مستشفى|مريض|عنوان|هاتف|تاريخ|"
    "שם|לידה|בית חולים|מטופל|כתובת|טלפון|תאריך|"
    "नाम|जन्म|अस्पताल|रोगी|पता"
)  # fmt: skip


def identifying(column: str) -> bool:
    """Whether a column's name says that it identifies somebody: name, number, day, place, UID."""
    folded = _folded(column)
    if _ELSEWHERE.search(folded):
        return True
    words = [w for w in re.split(r"[^a-z0-9]+", folded) if w]
    joined = "".join(words)
    if any(word in _ALWAYS or word in _WHEN or _COMPOUND.fullmatch(word) for word in words):
        return True
    # What was taken apart too far (`E-Mail`, `M.R.N.`), or never put together.
    if joined in _ALWAYS or _COMPOUND.fullmatch(joined):
        return True
    if words and all(word in _WHO for word in words):
        return True
    rest = [word for word in words if not (word in _NAME or word in _NUMBER or word.isdigit())]
    named = any(word in _NAME for word in words)
    numbered = any(word in _NUMBER for word in words)
    if named:
        return all(word in _PERSON for word in rest)
    # A mere "number" counts things; an ID, or the number of a person, does not.
    return numbered and all(word in _PERSON for word in rest) and (bool(rest) or "id" in words)


def _folded(text: str) -> str:
    """Words apart, in lower case, accents left out: `PatientenID` and `Prénom` as `prenom`."""
    parted = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    plain = parted.casefold().translate(_LETTERS)
    letters = (c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", "".join(letters))


# Letters that no decomposition makes plain.
_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "ł": "l", "đ": "d", "ı": "i", "þ": "th", "œ": "oe"})
